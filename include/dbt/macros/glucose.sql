{#-
  Whether a sensor's value is glucose. Outside of what sensors measure, in mg/dL, it is a state of the sensor: no
  antenna, warming up, not calibrated (1-12 and 38 of Dexcom's, among others).
-#}
{% macro is_glucose(column) -%}
  {{ column }} between 20 and 600
{%- endmacro %}
