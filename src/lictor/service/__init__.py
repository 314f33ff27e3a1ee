"""Use cases, one file each, in rooms; each room knows those below it and none above (import-linter holds them to it).

    evidence   log                      what the records say afterwards; the log as others see it
    registry                            who the agents are
    tasks                               authority for a purpose and a time
    people   credentials   containment  who answers; what is lent; what tightens
    calls                               one action from its start to its end
    history                             what a task has seen and used
    policy                              what is in force

Everything the outside does goes through ports; nothing here knows a transport or a database.
"""
