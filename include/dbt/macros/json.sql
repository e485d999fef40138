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
