{#- Where DuckDB and Trino differ, and what several models share. -#}

{#- Text at a path of a JSON text column: json_text('actor', 'login'). NULL where the text is not JSON, on both engines. -#}
{% macro json_text(column, path) -%}
  {{ adapter.dispatch('json_text', 'phlo')(column, path) }}
{%- endmacro %}

{% macro default__json_text(column, path) -%}
  json_extract_scalar({{ column }}, '$.{{ path }}')
{%- endmacro %}

{% macro duckdb__json_text(column, path) -%}
  try(json_extract_string({{ column }}, '$.{{ path }}'))
{%- endmacro %}

{#- How many items the JSON array at a path has; NULL where the text is not JSON, on both engines. -#}
{% macro json_length(column, path='') -%}
  {{ adapter.dispatch('json_length', 'phlo')(column, '$' ~ ('.' ~ path if path else '')) }}
{%- endmacro %}

{% macro default__json_length(column, path) -%}
  cast(try(json_array_length(json_extract({{ column }}, '{{ path }}'))) as bigint)
{%- endmacro %}

{% macro duckdb__json_length(column, path) -%}
  try(cast(json_array_length({{ column }}, '{{ path }}') as bigint))
{%- endmacro %}

{#- Milliseconds since 1970 as an instant. -#}
{% macro from_epoch_ms(column) -%}
  {{ adapter.dispatch('from_epoch_ms', 'phlo')(column) }}
{%- endmacro %}

{% macro default__from_epoch_ms(column) -%}
  cast(from_unixtime_nanos({{ column }} * 1000000) as timestamp(6) with time zone)
{%- endmacro %}

{% macro duckdb__from_epoch_ms(column) -%}
  make_timestamptz({{ column }} * 1000)
{%- endmacro %}

{#- The zone whose days and hours count: PHLO_DAY_ZONE, UTC unless set. -#}
{% macro in_day_zone(instant) -%}
  ({{ instant }} at time zone '{{ env_var("PHLO_DAY_ZONE", "UTC") | replace("'", "''") }}')
{%- endmacro %}

{% macro day_of(instant) -%}
  cast({{ in_day_zone(instant) }} as date)
{%- endmacro %}

{% macro hour_of(instant) -%}
  cast(extract(hour from {{ in_day_zone(instant) }}) as integer)
{%- endmacro %}

{#-
  Whether a sensor's value is glucose. Outside of what sensors measure, in mg/dL, it is a state of the sensor: no
  antenna, warming up, not calibrated (1-12 and 38 of Dexcom's, among others).
-#}
{% macro is_glucose(column) -%}
  {{ column }} between 20 and 600
{%- endmacro %}

{#- Share of the rows that meet a condition, in percent. -#}
{% macro percent_of_rows(condition) -%}
  100e0 * cast(count(*) filter (where {{ condition }}) as double) / cast(count(*) as double)
{%- endmacro %}

{#-
  Sample standard deviation (n - 1) of an integer column, NULL for one row.
  Equal to stddev_samp, but from exact integer sums: the order in which an engine reads the rows cannot change the
  last digit, so a rerun compares equal and writes nothing.
-#}
{% macro sample_stddev(column) -%}
  case when count({{ column }}) > 1 then
    sqrt(
      cast(count({{ column }}) * cast(sum({{ column }} * {{ column }}) as bigint)
        - cast(sum({{ column }}) as bigint) * cast(sum({{ column }}) as bigint) as double)
      / (cast(count({{ column }}) as double) * cast(count({{ column }}) - 1 as double))
    )
  end
{%- endmacro %}

{#- Mean of an integer column, from an exact sum for the same reason. -#}
{% macro mean(column) -%}
  cast(cast(sum({{ column }}) as bigint) as double) / cast(count({{ column }}) as double)
{%- endmacro %}

{#- Keeps the last arrival of each key, should a raw table hold a key more than once. -#}
{% macro arrival_rank(key) -%}
  row_number() over (partition by {{ key }} order by _cascade_ingested_at desc, _dlt_load_id desc, _dlt_id desc)
{%- endmacro %}
