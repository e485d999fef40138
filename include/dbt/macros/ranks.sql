{#-
  Median of an integer column whose values are numbered from 1 by `place`, NULLs last, and counted by `number`.
  The engines' own functions for it differ: one interpolates, one approximates.
-#}
{% macro median_by_place(column, place, number) -%}
  (cast(sum({{ column }}) filter (where 2 * {{ place }} between {{ number }} and {{ number }} + 2) as double)
    / nullif(cast(count({{ column }}) filter (where 2 * {{ place }} between {{ number }} and {{ number }} + 2) as double), 0e0))
{%- endmacro %}

{#- The smallest value that `percent` of the values do not exceed (nearest rank), of a column numbered in the same way. -#}
{% macro percentile_by_place(column, place, number, percent) -%}
  cast(min({{ column }}) filter (where 100 * {{ place }} >= {{ percent }} * {{ number }}) as double)
{%- endmacro %}
