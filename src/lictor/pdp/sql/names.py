"""Names the SQL facts rest on: functions known to be pure, words that look like functions, statements by their first word.

The lists are positive: a function that is not here makes a query a write. Sources: PostgreSQL 18 chapter 9, MySQL 8.4 chapter
14, SQLite `lang_corefunc`, `lang_aggfunc`, `lang_datefunc`, `json1`, `windowfunctions`. Left out on purpose: whatever
reads files, takes a query or a table by name, sleeps, locks, notifies, draws from a sequence, sets, kills or loads.
"""

from typing import Final

_COMMON: Final = """
abs acos asin atan atan2 avg cast ceil ceiling char coalesce concat concat_ws cos count cume_dist degrees dense_rank
exp extract first_value floor greatest if ifnull iif instr lag last_value lead least length ln log log10 log2 lower
ltrim max min mod nth_value ntile nullif percent_rank pi position pow power radians rank replace round row_number
rtrim sign sin sqrt substr substring sum tan trim trunc upper grouping
"""
_POSTGRES: Final = """
age array array_agg bernoulli array_append array_cat array_dims array_fill array_length array_lower array_ndims
array_position array_positions array_prepend array_remove array_replace array_to_json array_to_string array_upper
ascii asind atand atan2d bit_and bit_length bit_or bool_and bool_or btrim cardinality cbrt char_length
character_length chr clock_timestamp corr cosd cotd covar_pop covar_samp cot current_database current_schema date
date_bin date_part date_trunc decode div encode every factorial format gcd generate_series generate_subscripts
height host initcap int4range int8range isempty isfinite json_agg json_array_elements json_array_elements_text
json_array_length json_build_array json_build_object json_each json_each_text json_extract_path
json_extract_path_text json_object json_object_agg json_object_keys json_strip_nulls json_typeof jsonb_agg
jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg
jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first
jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_typeof justify_days justify_hours justify_interval lcm left localtime
localtimestamp current_time current_timestamp lower_inc lower_inf make_date make_interval make_time make_timestamp
make_timestamptz md5 masklen mode multirange netmask network now numeric numrange num_nonnulls num_nulls numnode
octet_length overlay percentile_cont percentile_disc phraseto_tsquery plainto_tsquery quote_ident quote_literal
quote_nullable range_merge regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace
regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2
regr_slope regr_sxx regr_sxy regr_syy reverse right row row_to_json scale set_masklen sha224 sha256 sha384 sha512
sind split_part sqrt starts_with statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array
string_to_table strpos tand text timestamp timestamptz time timetz timeofday to_ascii to_char to_date to_hex to_json
to_jsonb to_number to_timestamp to_tsquery to_tsvector transaction_timestamp translate trim_array trim_scale
ts_headline ts_rank ts_rank_cd tsrange tstzrange daterange unaccent unnest upper_inc upper_inf var_pop var_samp
variance version websearch_to_tsquery width_bucket xmlagg xmlelement xmlforest inet_same_family abbrev broadcast
family hostmask
"""
_MYSQL: Final = """
adddate addtime any_value ascii bin bit_and bit_count bit_length bit_or bit_xor char_length character_length
coercibility collation conv convert convert_tz cot crc32 curdate current_date current_time current_timestamp curtime
date date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear elt export_set field
find_in_set format from_base64 from_days from_unixtime get_format group_concat hex hour inet_aton inet_ntoa
inet6_aton inet6_ntoa insert interval is_ipv4 is_ipv6 is_uuid isnull json_array json_array_append json_array_insert
json_arrayagg json_contains json_contains_path json_depth json_extract json_insert json_keys json_length
json_merge_patch json_merge_preserve json_object json_objectagg json_overlaps json_pretty json_quote json_remove
json_replace json_search json_set json_type json_unquote json_valid json_value last_day lcase left localtime
localtimestamp locate lpad make_set makedate maketime md5 microsecond mid minute month monthname now oct
octet_length ord period_add period_diff quarter quote regexp_instr regexp_like regexp_replace regexp_substr reverse
right rpad sec_to_time second sha sha1 sha2 soundex space std stddev stddev_pop stddev_samp str_to_date strcmp
subdate substring_index subtime sysdate time time_format time_to_sec timediff timestamp timestampadd timestampdiff
to_base64 to_days to_seconds truncate ucase unhex unix_timestamp utc_date utc_time utc_timestamp uuid_to_bin
bin_to_uuid var_pop var_samp variance version database schema week weekday weekofyear weight_string year yearweek
match against binary
"""
_SQLITE: Final = """
acosh asinh atanh cosh date datetime format glob group_concat hex json json_array json_array_length json_each
json_extract json_group_array json_group_object json_insert json_object json_patch json_quote json_remove
json_replace json_set json_tree json_type json_valid jsonb julianday likelihood likely like octet_length printf
quote sinh soundex sqlite_version string_agg strftime tanh time timediff total typeof unhex unicode unistr unixepoch
unlikely
"""
_TYPES: Final = """
bigint binary bit blob bool boolean bytea char character clob date datetime dec decimal double enum fixed float int
integer interval json jsonb mediumint national nchar numeric nvarchar precision real set signed smallint text time
timestamp timestamptz timetz tinyint tinytext unsigned uuid varbinary varbit varchar varying year zone
"""

PURE_FUNCTIONS: Final[dict[str, frozenset[str]]] = {
    "postgres": frozenset((_COMMON + _POSTGRES).split()),
    "mysql": frozenset((_COMMON + _MYSQL).split()),
    "sqlite": frozenset((_COMMON + _SQLITE).split()),
}
"""By dialect, lower case: built-ins whose call changes nothing and reads nothing but its arguments, the clock and who is asking.
A dialect that is not here has none, so nothing with a function in it is read-only there."""

TYPE_NAMES: Final = frozenset(_TYPES.split())

_NOT_FUNCTIONS_WORDS: Final = """
all and any array as conflict between both by case check cross cube constraint default distinct else end except
exists fetch filter foreign from full group groups having ilike in index inner intersect into is isnull join key
lateral leading like limit materialized minus natural not notnull offset on only or order outer over partition
primary range recursive references regexp returning rlike rollup rows select set sets similar some table then to
trailing union unique update using values when where window with within xor
"""
NOT_FUNCTIONS: Final = frozenset(_NOT_FUNCTIONS_WORDS.split())
"""Words behind which a parenthesis is no call. The reader of the tree reports a function that bears such a name all the same."""

WRITE_WORDS: Final = frozenset(
    ["into", "update", "delete", "merge", "outfile", "dumpfile", "procedure", "call", "lock"]
)
"""Reserved where it matters: one of them, unquoted, anywhere in a statement, and it is not proven to be a query."""

PARSED: Final = frozenset(
    [
        "select",
        "with",
        "values",
        "table",
        "(",
        "insert",
        "replace",
        "update",
        "delete",
        "merge",
        "create",
        "drop",
        "alter",
        "truncate",
    ]
)
"""First words of statements that are parsed into a tree; the tree says what they are."""

OPAQUE: Final[dict[str, str]] = {
    **dict.fromkeys(["call", "exec", "execute", "do"], "call"),
    **dict.fromkeys(["copy", "load", "unload", "import", "export"], "copy"),
    **dict.fromkeys(["set", "reset", "use", "pragma", "attach", "detach", "discard"], "set"),
    **dict.fromkeys(["begin", "start", "commit", "end", "rollback", "savepoint", "release", "abort"], "transaction"),
    **dict.fromkeys(
        [
            "grant",
            "revoke",
            "comment",
            "reindex",
            "vacuum",
            "analyze",
            "analyse",
            "refresh",
            "cluster",
            "rename",
            "optimize",
            "security",
        ],
        "ddl",
    ),
    **dict.fromkeys(
        [
            "lock",
            "unlock",
            "listen",
            "unlisten",
            "notify",
            "prepare",
            "deallocate",
            "declare",
            "fetch",
            "move",
            "close",
            "checkpoint",
            "handler",
            "kill",
            "flush",
            "purge",
            "repair",
            "install",
            "uninstall",
            "reassign",
            "shutdown",
            "change",
            "stop",
            "show",
        ],
        "other",
    ),
}
"""First words of statements that are known by kind alone: their tables and functions stay unknown (`*`), and they write."""

EXPLAIN: Final = frozenset(["explain", "describe", "desc"])
EXPLAIN_OPTIONS: Final = frozenset(
    [
        "analyze",
        "analyse",
        "verbose",
        "costs",
        "settings",
        "buffers",
        "wal",
        "timing",
        "summary",
        "format",
        "text",
        "json",
        "xml",
        "yaml",
        "tree",
        "traditional",
        "extended",
        "partitions",
        "true",
        "false",
        "on",
        "off",
        "query",
        "plan",
        "generic_plan",
        "memory",
    ]
)
