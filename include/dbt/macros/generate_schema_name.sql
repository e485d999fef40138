{#- A model's schema is the Iceberg namespace, word for word: no prefix of the target. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
