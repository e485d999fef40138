{#- Keeps the last arrival of each key, should a raw table hold a key more than once. -#}
{% macro arrival_rank(key) -%}
  row_number() over (partition by {{ key }} order by _cascade_ingested_at desc, _dlt_load_id desc, _dlt_id desc)
{%- endmacro %}
