#!/bin/sh
# What the documents point to is there: files, folders, headings, tests; and agentctl has the commands that they tell people to type.
srcdir=${srcdir:-.}
command -v python3 > /dev/null || { echo "SKIP: python3 is not installed"; exit 77; }
[ -x ./agentctl ] || { echo "FAIL: ./agentctl is not built"; exit 1; }
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
./agentctl completion bash > "$tmp/commands" || exit 1
python3 - "$srcdir" "$tmp/commands" << 'END'
import glob, os, re, sys

top = sys.argv[1]
bad = []


def text_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def slug(heading):
    return re.sub(r"[^\w\- ]", "", re.sub(r"`|\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).strip().replace(" ", "-")


pages = [top + "/" + p for p in ("README.md", "SECURITY.md", "CHANGELOG.md")] + sorted(glob.glob(top + "/docs/*.md") + glob.glob(top + "/docs/*.md.in") + glob.glob(top + "/docs/design/*.md"))
made = ("docs/api.md", "docs/install.md", "openapi.json")
n_links = n_paths = n_commands = 0

commands = {}
for line in text_of(sys.argv[2]).splitlines():
    m = re.match(r" +'([a-z -]+) '\*\).*list='([^']*)'", line)
    if m:
        commands[m[1]] = set(m[2].split())

for page in pages:
    whole = text_of(page)
    shown = os.path.relpath(page, top)
    text = re.sub(r"(?ms)^```.*?^```", "", whole)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        n_links += 1
        name, _, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(page), name)) if name else page
        if not os.path.exists(path):
            bad.append(f"{shown}: {target} is not there")
        elif anchor and anchor not in {slug(h) for h in re.findall(r"(?m)^#+ +(.*)$", text_of(path))}:
            bad.append(f"{shown}: {target}: no such heading")
    for code in re.findall(r"`([^`\n]+)`", text):
        for path in re.findall(r"(?<![\w/.-])(?:tests|libagent|agentd|examples|systemd|docs)/[\w./*-]+", code):
            path = path.rstrip(".")
            if path.startswith(made) or not re.search(r"\.(c|h|sh|py|js|md|am|def|in|conf|service|socket|cfg|cmd|json)$|\*|/$", path):
                continue
            n_paths += 1
            inside = [top + "/" + path, top + "/" + path.removesuffix(".service") + ".service.in", path]
            if path.startswith("agentd/") and not os.path.exists(top + "/" + path):
                continue        # below /etc, /var or /usr of a device
            if not any(glob.glob(p) for p in inside):
                bad.append(f"{shown}: {path} is not there")
    # Commands that people are told to type.
    for code in re.findall(r"`(agentctl [^`\n]+)`", text) + re.findall(r"(?m)^(agentctl .*)$", "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", whole))):
        words = [w for w in re.sub(r"#.*", "", code).split()[1:] if w not in ("--json",)]
        while words[:1] and words[0] in ("--socket", "--config"):
            words = words[2:]
        if not words or words[0] in ("help",) or words[0].startswith(("-", "'")):
            continue
        n_commands += 1
        for part in words[1].split("|") if len(words) > 1 and re.match(r"^[a-z|-]+$", words[1]) else [None]:
            name = " ".join([words[0], part]) if part and " ".join([words[0], part]) in commands else words[0]
            group = any(c.startswith(words[0] + " ") for c in commands)
            if name not in commands and not (group and (part is None or part.startswith("-"))):
                bad.append(f"{shown}: agentctl has no command for: {code}")
                continue
            for option in re.findall(r"(?<=[ \[])--[a-z][a-z-]*", code.split("|")[0] if "|" not in words[-1] else code):
                if name in commands and option not in commands[name] | {"--help", "--json", "--socket", "--config"}:
                    bad.append(f"{shown}: agentctl {name} has no option {option}")

# Each row of the requirements names a test that is there.
for line in text_of(top + "/docs/requirements.md").splitlines():
    cells = [c.strip() for c in line.split(" | ")]
    if not line.startswith("| ") or len(cells) != 3 or cells[0] == "| Need":
        continue
    tests = re.findall(r"\btest_\w+", cells[2]) + re.findall(r"(?<![\w/-])\d\d-[\w-]+\.sh", cells[2])
    for test in tests:
        if not glob.glob(f"{top}/tests/unit/{test}.c") and not os.path.exists(f"{top}/tests/e2e/{test}"):
            bad.append(f"docs/requirements.md: {test} is not there")
    if not tests and not re.search(r"tests/|quickstart", cells[2]):
        bad.append(f"docs/requirements.md: no test for: {cells[0][2:]}")
    for part in re.findall(r"`([^`]+)`", cells[1]):
        where = [p for p in (part, "libagent/net/" + part, "libagent/*/" + part, "agentd/*/" + part, "systemd/" + part) if glob.glob(f"{top}/{p}")]
        if "/" in part and not where and not part.startswith("agentctl"):
            bad.append(f"docs/requirements.md: {part} is not there")
        elif re.search(r"\.[ch]$", part) and not where:
            bad.append(f"docs/requirements.md: {part} is not there")

if min(n_links, n_paths, n_commands) < 50:
    bad.append(f"too little found: {n_links} links, {n_paths} paths, {n_commands} commands")
for line in bad:
    print("FAIL:", line)
sys.exit(1 if bad else 0)
END
