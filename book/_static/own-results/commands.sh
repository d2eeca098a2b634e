pepr audit emissions.csv
pepr score accuracy.csv --join emissions.csv --on run=project_name \
    --performance accuracy --resource energy_kwh > scored.csv
pepr score accuracy.csv --join emissions.csv --on run=project_name \
    --performance accuracy --resource energy_kwh --curve --plot curve.svg
