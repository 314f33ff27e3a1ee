"""Life cycles as tables: task, hold, execution. Pure: a record and the rows it touches in, the new rows or a refusal out."""
