pepr audit emissions.csv > audit.txt
pepr score accuracy.csv --join emissions.csv --on run=project_name \
    --performance accuracy --resource energy_kwh > scored.csv 2> said.txt
pepr score accuracy.csv --join emissions.csv --on run=project_name \
    --performance accuracy --resource energy_kwh --curve --plot curve.svg > peak.txt
