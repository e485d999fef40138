{#- Fails on every row whose value is out of bounds; NULL passes. -#}
{% test expect_column_values_to_be_between(
  model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false
) %}
select *
from {{ model }}
where {{ row_condition or 'true' }}
  and (
    false
    {%- if min_value is not none %}
    or not ({{ column_name }} >{{ '' if strictly else '=' }} {{ min_value }})
    {%- endif %}
    {%- if max_value is not none %}
    or not ({{ column_name }} <{{ '' if strictly else '=' }} {{ max_value }})
    {%- endif %}
  )
{% endtest %}
