{#- A seed's table is made anew: what it has in the catalog is replaced when it is committed, in one snapshot. -#}
{% macro phlo__reset_csv_table(model, full_refresh, old_relation, agate_table) %}
  {% do adapter.drop_relation(old_relation) %}
  {{ return(create_csv_table(model, agate_table)) }}
{% endmacro %}

{#-
  Read the file as dbt does, and every line of it. Left to itself, DuckDB guesses from the data what quotes a value
  ('x' loses its quotes) and whether 01/02 is in January.
-#}
{% macro phlo__load_csv_rows(model, agate_table) %}
  {% if not config.get('fast', true) %}
    {{ return(duckdb__load_csv_rows(model, agate_table)) }}
  {% endif %}
  {% set path = adapter.get_seed_file_path(model) | replace("'", "''") %}
  {% set delimiter = config.get('delimiter', ',') | replace("'", "''") %}
  {% set sql %}
    copy {{ this.render() }} from '{{ path }}'
    (format csv, auto_detect false, header true, delimiter '{{ delimiter }}', quote '"', escape '"')
  {% endset %}
  {% do adapter.add_query(sql, abridge_sql_log=True) %}
  {{ return(sql) }}
{% endmacro %}
