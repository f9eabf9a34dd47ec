#!/bin/sh
# The OpenAPI document is sound: structure, references, every row of routes.c in it. tests/interop has a real validator.
srcdir=${srcdir:-.}
command -v python3 > /dev/null || { echo "SKIP: python3 is not installed"; exit 77; }
make -s agentd/mgmt/openapi.json docs/api.md || exit 1
exec python3 - "$srcdir" << 'PY'
import json, re, sys
bad = []
def claim(truth, text):
    if not truth:
        bad.append(text)
def no_twice(pairs):
    keys = [k for k, _ in pairs]
    claim(len(keys) == len(set(keys)), "a member twice among %s" % keys[:8])
    return dict(pairs)
doc = json.load(open("agentd/mgmt/openapi.json", encoding="ascii"), object_pairs_hook=no_twice)
claim(re.fullmatch(r"3\.1\.\d+", doc["openapi"]), "version")
claim(set(doc) <= {"openapi", "info", "servers", "paths", "components", "security"}, "members of the document")
claim({"title", "version"} <= set(doc["info"]), "info")
def resolve(ref):
    at = doc
    claim(ref.startswith("#/"), "reference " + ref)
    for part in ref[2:].split("/"):
        claim(part in at, "reference to nothing: " + ref)
        at = at[part]
    return at
def schema(s, where):
    if "$ref" in s:
        return schema(resolve(s["$ref"]), where)
    claim(s.get("type", "object") in ("object", "array", "string", "integer", "boolean"), where + ": type")
    for name in s.get("required", []):
        claim(name in s.get("properties", {}), "%s: required %s is no property" % (where, name))
    for name, member in s.get("properties", {}).items():
        schema(member, where + "." + name)
    for member in s.get("allOf", []):
        schema(member, where)
    if s.get("type") == "array":
        claim("items" in s, where + ": items")
        schema(s.get("items", {}), where + "[]")
    if "pattern" in s:
        re.compile(s["pattern"])
    claim(s.get("minLength", 0) <= s.get("maxLength", 1 << 40), where + ": lengths")
    claim(s.get("minimum", 0) <= s.get("maximum", 1 << 70), where + ": bounds")
operations = {}
for path, item in doc["paths"].items():
    claim(path.startswith("/"), path)
    names = set(re.findall(r"{(\w+)}", path))
    for method, op in item.items():
        where = method.upper() + " " + path
        claim(method in ("get", "post", "put", "delete"), where)
        operations[where] = op
        claim(op["summary"] and op["x-agentd-role"] and op["x-agentd-before-setup"] and op["x-agentd-rate"], where + ": summary or rights")
        claim(names == {p["name"] for p in op.get("parameters", []) if p["in"] == "path"}, where + ": path parameters")
        for p in op.get("parameters", []):
            claim(p["in"] in ("path", "query") and p["required"] == (p["in"] == "path"), where + ": parameter")
            schema(p["schema"], where + " " + p["name"])
        for media, content in op.get("requestBody", {}).get("content", {}).items():
            schema(content.get("schema", {}), where + " " + media)
            claim(media != "application/json" or content["schema"]["additionalProperties"] is False, where + ": body is open")
        codes = op["responses"]
        claim(sum(c.startswith("2") for c in codes) == 1, where + ": one success")
        for code, response in codes.items():
            claim(re.fullmatch("[245][0-9][0-9]", code), where + ": status " + code)
            if "$ref" in response:
                response = resolve(response["$ref"])
            claim(response["description"], where + ": description of " + code)
            claim(code != "204" or "content" not in response, where + ": 204 with content")
            claim(code[0] == "2" or "application/problem+json" in response["content"], where + ": problem of " + code)
            for media, content in response.get("content", {}).items():
                schema(content.get("schema", {}), where + " " + code)
        claim((op["x-agentd-role"] == "anyone") == ("401" not in codes or "wrong-credentials" in codes["401"]["$ref"] and op.get("security") == []), where + ": 401")
        claim((op.get("security") == []) == (op["x-agentd-role"] == "anyone"), where + ": security")
rows = re.findall(r'^\t\{ (GET|POST|PUT|DELETE), +"([^"]+)"', open(sys.argv[1] + "/agentd/mgmt/routes.c").read(), re.M)
claim(len(rows) > 20, "rows of routes.c are not found")
found = {re.sub(r"{\w+}", "*", o) for o in operations}
claim(found == {m + " " + p for m, p in rows}, "routes.c and the document differ: %s" % (found ^ {m + " " + p for m, p in rows}))
slugs = set(re.findall(r'^PROBLEM\("([a-z-]+)"', open(sys.argv[1] + "/agentd/mgmt/problems.def").read(), re.M))
used = set(re.findall(r"urn:agentd:problem:([a-z-]+)", json.dumps(doc)))
claim(used <= slugs, "unknown problem types: %s" % (used - slugs))
listed = set(re.findall(r'\.problems = "([^"]*)"', open(sys.argv[1] + "/agentd/mgmt/routes.c").read()))
claim(set(" ".join(listed).split()) <= slugs, "routes.c names problems that do not exist")
page = open("docs/api.md").read()
claim("@ROUTES@" not in page, "docs/api.md is not made")
for where in operations:
    method, path = where.split(" ", 1)
    claim("### %s `%s`" % (method, path) in page, where + " is not in docs/api.md")
for line in bad:
    print("FAIL:", line)
print("%d operations, %d problem types" % (len(operations), len(used)))
sys.exit(bool(bad))
PY
