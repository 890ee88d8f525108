#!/usr/bin/env python3
"""recipes.py POSITION CONNECTION: renders the templates of a Home Assistant YAML on standard input.

Renders them over the two payloads as Home Assistant does, with the payload as `value_json`, and writes a JSON object to
standard output. Exits with 3 if PyYAML or Jinja 2 is not installed.
"""

import json
import sys

try:
    import jinja2
    import yaml
except ImportError as missing:
    print(missing, file=sys.stderr)
    sys.exit(3)

environment = jinja2.Environment(undefined=jinja2.Undefined)


def rendered(template, payload):
    return environment.from_string(template).render(value_json=payload)


position, connection = (json.load(open(path)) for path in sys.argv[1:3])
tracker, sensor = yaml.safe_load(sys.stdin)["mqtt"]
tracker, sensor = tracker["device_tracker"], sensor["sensor"]
bare = {name: position[name] for name in ("v", "van", "seq", "ts", "lat", "lon", "mode", "motion")}
attributes = tracker["json_attributes_template"]
gone = {**connection, "state": "connection_broken"}
print(
    json.dumps(
        {
            "topics": [tracker["json_attributes_topic"], tracker["availability_topic"], sensor["state_topic"]],
            "attributes": json.loads(rendered(attributes, position)),
            "bare": json.loads(rendered(attributes, bare)),
            "online": rendered(tracker["availability_template"], connection),
            "gone": rendered(tracker["availability_template"], gone),
            "stops": rendered(sensor["value_template"], position),
            "no_stops": rendered(sensor["value_template"], bare),
        }
    )
)
