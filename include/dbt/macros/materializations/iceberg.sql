{#-
  On DuckDB a model becomes an Iceberg table: its rows are computed into a scratch table and handed to the plugin,
  which writes one snapshot, or none if nothing changed. On Trino dbt-trino's own materializations run.
-#}

{% materialization table, adapter='duckdb', supported_languages=['sql'] %}
  {%- set target_relation = this.incorporate(type='table') -%}
  {%- do require_upstream() -%}
  {%- do phlo_write(target_relation, compiled_code) -%}
  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{% materialization incremental, adapter='duckdb', supported_languages=['sql'] %}
  {%- set target_relation = this.incorporate(type='table') -%}
  {%- set existing_relation = load_cached_relation(this) -%}
  {%- do require_upstream() -%}
  {%- if existing_relation is none or should_full_refresh() -%}
    {%- do phlo_write(target_relation, compiled_code) -%}
  {%- else -%}
    {%- do phlo_write(target_relation, phlo_incremental_sql(existing_relation, compiled_code)) -%}
  {%- endif -%}
  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{% materialization view, adapter='duckdb', supported_languages=['sql'] %}
  {%- do exceptions.raise_compiler_error(
    this.schema ~ "." ~ this.identifier ~ ": a view would be gone when this process ends. Use materialized='table', "
    ~ "'incremental' or 'ephemeral'."
  ) -%}
{% endmaterialization %}


{% macro phlo_write(target_relation, sql) %}
  {%- set scratch = api.Relation.create(
    database=target_relation.database, schema='phlo_scratch',
    identifier=target_relation.schema ~ '__' ~ target_relation.identifier, type='table') -%}
  {{ run_hooks(pre_hooks) }}
  {% call statement('main') -%}
    {{ config.get('sql_header') or '' }}
    create or replace table {{ scratch }} as (
      {{ sql }}
    )
  {%- endcall %}
  {{ run_hooks(post_hooks) }}
  {#- the plugin reads through a connection of its own: it sees what is committed -#}
  {% do adapter.commit() %}
  {% do adapter.store_relation('phlo', target_relation, adapter.get_columns_in_relation(scratch), scratch.identifier, 'table', config) %}
  {% do adapter.cache_added(target_relation) if adapter.cache_added %}
{% endmacro %}


{#- The whole new content: old rows whose key does not come again, and the new rows. A NULL in a key is a value of it. -#}
{% macro phlo_incremental_sql(existing_relation, sql) %}
  {%- set key = config.get('unique_key') -%}
  {%- set columns = [key] if key is string else (key or []) -%}
  with phlo_new as (
    {{ sql }}
  )
  {% if columns -%}
  select phlo_old.* from {{ existing_relation }} as phlo_old
  where not exists (
    select 1 from phlo_new
    where {% for column in columns -%}
      phlo_new.{{ adapter.quote(column) }} is not distinct from phlo_old.{{ adapter.quote(column) }}{{ ' and ' if not loop.last }}
    {%- endfor %}
  )
  {%- else -%}
  select * from {{ existing_relation }}
  {%- endif %}
  union all by name
  select * from phlo_new
{% endmacro %}


{#- The plugin's views stand for Iceberg tables; as views, `is_incremental()` would never be true. -#}
{% macro duckdb__list_relations_without_caching(schema_relation) %}
  {% call statement('list_relations_without_caching', fetch_result=True) -%}
    select table_catalog as database, table_name as name, table_schema as schema, 'table' as type
    from system.information_schema.tables
    where lower(table_schema) = '{{ schema_relation.schema | lower }}'
      and lower(table_catalog) = '{{ schema_relation.database | lower }}'
  {% endcall %}
  {{ return(load_result('list_relations_without_caching').table) }}
{% endmacro %}
