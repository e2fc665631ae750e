"""Validates Kubernetes resources as an API server with strict field validation would:
those of Istio and the Gateway API against the schemas of their releases, the others
against those of Kubernetes.

validate.py DIRECTORY FILE...   DIRECTORY holds the releases' CustomResourceDefinitions
"""

import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

# What every resource has, whatever its own schema says of it.
COMMON = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [each for each in yaml.load_all(file, yaml.CSafeLoader) if each]


def strict(schema):
    """JSON Schema of an OpenAPI schema: unknown fields are refused, and Kubernetes' own
    words mean what they mean there. Rules in CEL are not looked at."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            made[key] = {name: strict(each) for name, each in value.items()}
        elif key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf", "not"):
            made[key] = strict(value)
        elif not key.startswith("x-kubernetes-") and key not in ("default", "description", "format"):
            made[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    # Only where the type is said: the branches of anyOf and the like repeat names alone.
    if schema.get("type") == "object" and "properties" in schema and not open_ended:
        made.setdefault("additionalProperties", False)
    if schema.get("nullable"):
        made = {"anyOf": [made, {"type": "null"}]}
    return made


def schemas(directory):
    found = {}
    for path in sorted(pathlib.Path(directory).glob("*.yaml")):
        for crd in documents(path):
            if crd.get("kind") != "CustomResourceDefinition":
                continue
            spec = crd["spec"]
            for version in spec["versions"]:
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                found[key] = version
    return found


def faults(document, known):
    key = document.get("apiVersion"), document.get("kind")
    name = f"{key[0]} {key[1]} {document.get('metadata', {}).get('name')}"
    if version := known.get(key):
        if not version["served"] or version.get("deprecated"):
            yield f"{name}: this version is deprecated"
        schema = version["schema"]["openAPIV3Schema"]
        schema = strict(schema | {"properties": COMMON | schema["properties"]})
        # The whole of metadata is the API server's matter.
        schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
        for error in jsonschema.Draft202012Validator(schema).iter_errors(document):
            place = ".".join(str(each) for each in error.absolute_path)
            yield f"{name}: {place}: {error.message}"
    elif "." in str(key[0]).split("/")[0]:
        yield f"{name}: no release knows it"
    else:
        try:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(str(each) for each in error.path)
            yield f"{name}: {place}: {error.message}"


def main(directory, *files):
    known = schemas(directory)
    count, bad = 0, []
    for path in files:
        for document in documents(path):
            count += 1
            bad += [f"{path}: {each}" for each in faults(document, known)]
    print(*bad, sep="\n")
    print(f"{count} resources, {len(known)} schemas, {len(bad)} faults")
    return 1 if bad or not count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
