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
