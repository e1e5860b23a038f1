"""The report: a table per case, the goals, and the same as JSON."""

import json
from pathlib import Path

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def write(record, folder, docs=None):
    """Writes `<date>.md` and `<date>.json`; puts the table into the docs page too when there is one."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = table(record)
    (folder / f"{record['date']}.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / f"{record['date']}.md").write_text(f"# Measured {record['date']}\n\n{text}")
    if docs and docs.exists():
        page = docs.read_text()
        head, rest = page.split(BEGIN, 1)
        docs.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")
    return text


def table(record):
    lines = [
        f"Measured on {record['date']}, {record['cores']} cores, medians of {record['rounds']} interleaved rounds of "
        f"{record['seconds']} s; one core for the proxy"
        + (", one shared by the load and the origin." if record["load_shares_a_core"] else "."),
        "",
        "Peers: " + ", ".join(f"{n} {v}" if v else n for n, v in record["versions"].items()) + ".",
        "",
    ]
    lines += goals(record["cases"])
    for case in record["cases"]:
        lines += case_table(case)
    return "\n".join(lines).rstrip() + "\n"


def goals(cases):
    rows = []
    for case in cases:
        labels = {m["key"]: m["label"] for m in case["metrics"]}
        for goal in case["goals"]:
            if goal["value"] is None:
                continue
            what = labels[goal["metric"]] + (f", ratio to {goal['relative_to']}" if goal["relative_to"] else "")
            word = "at least" if goal["at_least"] else "at most"
            verdict = "yes" if goal["met"] else "**no**"
            rows.append(f"| {case['title']} | {what} | {goal['value']:.2f} | {word} {goal['limit']:g} | {verdict} |")
    if not rows:
        return []
    return ["| case | figure | measured | goal | met |", "|---|---|---|---|---|", *rows, ""]


def case_table(case):
    shown = [m for m in case["metrics"] if any(m["key"] in row for row in case["medians"].values())]
    ours = case["medians"].get("mosn", {}).get(case["primary"])
    lines = [f"### {case['title']}", ""]
    heads = [m["label"] for m in shown] + (["mosn / this"] if ours is not None else [])
    lines += ["| proxy | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, row in case["medians"].items():
        cells = [f"{row[m['key']]:,.{m['digits']}f}" if m["key"] in row else "" for m in shown]
        if ours is not None:
            theirs = row.get(case["primary"])
            cells.append(f"{ours / theirs:.2f}" if theirs else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [""]
    for error in case["errors"]:
        lines += [f"Failed: {error}", ""]
    return lines
