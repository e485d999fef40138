{#- Stop with a message that says what to run, before DuckDB says that a table does not exist. -#}
{% macro require_upstream() -%}
  {%- for unique_id in model.depends_on.nodes if unique_id.split('.')[0] in ('model', 'source', 'seed', 'snapshot') -%}
    {%- set node = graph.sources.get(unique_id) or graph.nodes.get(unique_id) -%}
    {%- if node and node.config.materialized != 'ephemeral' -%}
      {%- set name = node.identifier or node.alias -%}
      {%- if adapter.get_relation(node.database, node.schema, name) is none -%}
        {%- do exceptions.raise_compiler_error(
          "Table " ~ node.schema ~ "." ~ name ~ " does not exist, and " ~ this.schema ~ "." ~ this.identifier
          ~ " reads it. " ~ (
            "Run the ingestion that writes it first." if node.resource_type == 'source'
            else "Build it first: dbt run --select " ~ node.name
          )
        ) -%}
      {%- endif -%}
    {%- endif -%}
  {%- endfor -%}
{%- endmacro %}
