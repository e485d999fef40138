{#-
  An increment goes into the model's table through the catalog, which rewrites what it touches. Only what a merge of
  DuckDB's own can say goes through DuckDB: the whole table is loaded for it.
-#}

{% macro phlo__get_incremental_append_sql(arg_dict) %}
  {{ return(phlo_increment('append', arg_dict)) }}
{% endmacro %}

{% macro phlo__get_incremental_delete_insert_sql(arg_dict) %}
  {{ return(phlo_increment('delete+insert', arg_dict)) }}
{% endmacro %}

{% macro phlo__get_incremental_merge_sql(arg_dict) %}
  {{ return(phlo_increment('merge', arg_dict)) }}
{% endmacro %}

{% macro phlo__get_incremental_microbatch_sql(arg_dict) %}
  {{ return(phlo_increment('microbatch', arg_dict)) }}
{% endmacro %}

{% macro phlo__get_incremental_insert_overwrite_sql(arg_dict) %}
  {{ return(phlo_increment('insert_overwrite', arg_dict)) }}
{% endmacro %}

{% macro phlo__get_incremental_default_sql(arg_dict) %}
  {{ return(phlo_increment('delete+insert', arg_dict)) }}
{% endmacro %}

{% macro phlo_increment(strategy, arg_dict) %}
  {%- set target = arg_dict['target_relation'] -%}
  {#- a pre-hook may have changed the table: it is DuckDB's own then -#}
  {%- if adapter.kind_of(target) == 'table' or adapter.needs_whole_table(strategy, config, model) -%}
    {%- do phlo_load_with_constraints(target) -%}
    {{ return(phlo_duckdb_increment_sql(strategy, arg_dict)) }}
  {%- endif -%}
  {%- do adapter.apply_increment(
    strategy, target, arg_dict['temp_relation'], config,
    unique_key=arg_dict.get('unique_key'), predicates=arg_dict.get('incremental_predicates'), batch=model.get('batch')
  ) -%}
  {{ return("select 1 as stored") }}
{% endmacro %}

{% macro phlo_duckdb_increment_sql(strategy, arg_dict) %}
  {%- if strategy == 'merge' -%}
    {{ return(duckdb__get_incremental_merge_sql(arg_dict)) }}
  {%- elif strategy == 'delete+insert' -%}
    {{ return(default__get_incremental_delete_insert_sql(arg_dict)) }}
  {%- elif strategy == 'microbatch' -%}
    {{ return(duckdb__get_incremental_microbatch_sql(arg_dict)) }}
  {%- elif strategy == 'append' -%}
    {{ return(default__get_incremental_append_sql(arg_dict)) }}
  {%- endif -%}
  {%- do exceptions.raise_compiler_error("incremental_strategy='" ~ strategy ~ "' cannot check the constraints of a contract, nor follow a pre-hook that changes the model's table: use 'merge' or 'delete+insert', or a hook with `transaction: false`.") -%}
{% endmacro %}

{#- The table's columns, with the constraints of the model's contract: DuckDB enforces them. -#}
{% macro phlo_load_with_constraints(relation) %}
  {%- do adapter.load_table(relation, get_table_columns_and_constraints() if config.get('contract').enforced else none) -%}
{% endmacro %}

{% macro phlo__alter_relation_add_remove_columns(relation, add_columns, remove_columns) %}
  {%- if adapter.kind_of(relation) == 'view' -%}
    {% do adapter.change_columns(relation, add_columns or [], remove_columns or []) %}
  {%- else -%}
    {% do default__alter_relation_add_remove_columns(relation, add_columns, remove_columns) %}
  {%- endif -%}
{% endmacro %}

{% macro phlo__alter_column_type(relation, column_name, new_column_type) %}
  {%- if adapter.kind_of(relation) == 'view' -%}
    {% do adapter.change_column_type(relation, column_name, new_column_type) %}
  {%- else -%}
    {% do default__alter_column_type(relation, column_name, new_column_type) %}
  {%- endif -%}
{% endmacro %}

{#- Types differ only if what is stored would. -#}
{% macro phlo__check_for_schema_changes(source_relation, target_relation) %}
  {%- set changes = default__check_for_schema_changes(source_relation, target_relation) -%}
  {%- do changes.update({'new_target_types': adapter.changed_types(target_relation, changes['new_target_types'])}) -%}
  {%- do changes.update({'schema_changed': (changes['source_not_in_target'] + changes['target_not_in_source'] + changes['new_target_types']) | length > 0}) -%}
  {{ return(changes) }}
{% endmacro %}

{#- Types come first: if one cannot be changed, nothing has been. New members of structs are new columns, too. -#}
{% macro phlo__sync_column_schemas(on_schema_change, target_relation, schema_changes_dict) %}
  {%- for change in schema_changes_dict['new_target_types'] -%}
    {%- if on_schema_change == 'sync_all_columns' or adapter.has_members(target_relation, change['column_name']) -%}
      {%- do alter_column_type(target_relation, change['column_name'], change['new_type']) -%}
    {%- endif -%}
  {%- endfor -%}
  {%- do default__sync_column_schemas(on_schema_change, target_relation, schema_changes_dict) -%}
{% endmacro %}
