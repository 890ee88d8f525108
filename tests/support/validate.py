#!/usr/bin/env python3
"""validate.py SCHEMA: validates the JSON document in each line of standard input.

Writes one line per document with the errors found by the schema (any draft), empty if it is valid. Exits with 3 if the
package `jsonschema` is not installed.

The formats are checked by functions of this file. Without a checker for `uri` the schema of EPCIS accepts any unknown
member, and the packages that provide one differ from machine to machine.
"""

import datetime
import json
import re
import sys
import uuid

try:
    import jsonschema
except ImportError:
    sys.exit(3)

# RFC 3986 §3, with any host.
PATH = r"([A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
AUTHORITY = r"([A-Za-z0-9._~!$&'()*+,;=:-]+@)?(\[[0-9A-Fa-f:.]+\]|([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(:[0-9]*)?"
URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:(//{AUTHORITY}(?=[/?#]|$)|(?!//)){PATH}(#{PATH})?", re.ASCII)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)

formats = jsonschema.FormatChecker(formats=())


@formats.checks("uri")
def is_uri(value):
    return not isinstance(value, str) or URI.fullmatch(value) is not None


@formats.checks("date-time", raises=ValueError)
def is_time(value):
    if not isinstance(value, str):
        return True
    return TIME.fullmatch(value) is not None and bool(datetime.datetime.fromisoformat(value[:19]))


@formats.checks("date", raises=ValueError)
def is_date(value):
    return not isinstance(value, str) or len(value) == 10 and bool(datetime.date.fromisoformat(value))


@formats.checks("uuid", raises=ValueError)
def is_uuid(value):
    return not isinstance(value, str) or str(uuid.UUID(value)) == value.lower()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    validator = kind(schema, format_checker=formats)
    for line in sys.stdin:
        error = jsonschema.exceptions.best_match(validator.iter_errors(json.loads(line)))
        print("" if error is None else f"{error.json_path}: {error.message}".replace("\n", " "))


main()
