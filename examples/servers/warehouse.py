"""A data warehouse in memory (SQLite), with a way to send results elsewhere. `python3 warehouse.py`.

Queries really run. An export only says what it would send where.
"""

import csv
import io
import sqlite3

from toolbox import Arguments, Tool, serve, text

MOST_ROWS = 1_000
DATABASE = sqlite3.connect(":memory:")
DATABASE.executescript("""
create table products (id integer primary key, name text, price_cents integer);
create table orders (id integer primary key, product_id integer, customer_id integer, day text, quantity integer);
create table customers (id integer primary key, name text, email text, city text);
create table salaries (employee text, month text, cents integer);
create table scratch_notes (id integer primary key, note text);
insert into products values (1, 'lamp', 4900), (2, 'chair', 12900);
insert into orders values (1, 1, 1, '2026-11-02', 1), (2, 2, 2, '2026-11-03', 4), (3, 1, 2, '2026-11-09', 2);
insert into customers values (1, 'Ann', 'ann@customer.example', 'Lyon'), (2, 'Bob', 'bob@customer.example', 'Graz');
insert into salaries values ('eve', '2026-10', 510000);
""")
SQL = text("one SQL statement", maxLength=20_000)


def _rows(sql: str) -> str:
    try:
        cursor = DATABASE.execute(sql)
    except sqlite3.Error as error:
        raise ValueError(str(error)) from None
    rows = cursor.fetchmany(MOST_ROWS)
    DATABASE.commit()
    if cursor.description is None:
        return f"{cursor.rowcount} rows changed"
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(column[0] for column in cursor.description)
    writer.writerows(rows)
    return out.getvalue()


def _export(arguments: Arguments) -> str:
    return f"would send {len(_rows(arguments['sql']).splitlines()) - 1} rows to {arguments['url']}"


TOOLS = (
    Tool(
        "list_tables",
        "List tables and columns.",
        {},
        lambda _: _rows("select name, sql from sqlite_master where type = 'table'"),
    ),
    Tool("run_sql", "Run one SQL statement.", {"sql": SQL}, lambda arguments: _rows(arguments["sql"])),
    Tool(
        "export_rows",
        "Run a query in the warehouse and send its rows to a URL. They do not pass through the conversation.",
        {"sql": SQL, "url": text("where to")},
        _export,
    ),
    Tool(
        "mail_report",
        "Mail a report.",
        {
            "to": {"type": "array", "items": text("address"), "minItems": 1, "maxItems": 20},
            "subject": text("subject", maxLength=200),
            "body": text("plain text", maxLength=50_000),
        },
        lambda arguments: f"would mail to {', '.join(arguments['to'])}",
    ),
)

if __name__ == "__main__":
    serve("warehouse", TOOLS)
