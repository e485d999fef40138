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

{#- The Monday of the week in which an instant lies, in the day zone. -#}
{% macro week_of(instant) -%}
  cast(date_trunc('week', {{ day_of(instant) }}) as date)
{%- endmacro %}
