{#- The catalog's tables are views in DuckDB: for dbt they are tables, and what changes a table goes by what it is. -#}

{% macro phlo__list_relations_without_caching(schema_relation) %}
  {% call statement('list_relations_without_caching', fetch_result=True) -%}
    select '{{ schema_relation.database }}' as database, table_name as name, table_schema as schema, 'table' as type
    from system.information_schema.tables
    where lower(table_schema) = '{{ schema_relation.schema | lower }}'
      and lower(table_catalog) = '{{ schema_relation.database | lower }}'
  {% endcall %}
  {{ return(load_result('list_relations_without_caching').table) }}
{% endmacro %}

{% macro phlo__drop_relation(relation) -%}
  {%- set kind = adapter.kind_of(relation) or relation.type -%}
  {% call statement('drop_relation', auto_begin=False) -%}
    drop {{ kind }} if exists {{ relation }} cascade
  {%- endcall %}
{% endmacro %}

{% macro phlo__rename_relation(from_relation, to_relation) -%}
  {%- set kind = adapter.kind_of(from_relation) or to_relation.type -%}
  {% call statement('rename_relation') -%}
    alter {{ kind }} {{ from_relation }} rename to {{ adapter.quote(to_relation.identifier) }}
  {%- endcall %}
{% endmacro %}

{% macro phlo__truncate_relation(relation) -%}
  {% do adapter.load_table(relation) %}
  {% call statement('truncate_relation') -%}
    truncate {{ relation }}
  {%- endcall %}
{% endmacro %}

{% macro phlo__alter_relation_comment(relation, relation_comment) -%}
  {% do adapter.comment(relation, relation_comment) %}
{% endmacro %}

{% macro phlo__alter_column_comment(relation, column_dict) -%}
  {% do adapter.comment_columns(relation, column_dict) %}
{% endmacro %}

{#- Tables of the catalog have neither indexes nor partitions of DuckDB's; those of the catalog are set when stored. -#}
{% macro phlo__create_indexes(relation) -%}
{% endmacro %}

{% macro duckdb__get_partitioned_by(relation, temporary) -%}
  {{ return(none) }}
{%- endmacro %}

{% macro duckdb__get_sorted_by(relation, temporary) -%}
  {{ return(none) }}
{%- endmacro %}

{% macro duckdb__get_catalog_tables_sql(information_schema) -%}
  {%- do adapter.show_comments() -%}
    select * from (
      select database_name as table_database, schema_name as table_schema, view_name as table_name,
        'BASE TABLE' as table_type, comment as table_comment
      from duckdb_views()
      where upper(database_name) = upper('{{ information_schema.database }}') and not internal
    ) as catalog_tables
{%- endmacro %}
