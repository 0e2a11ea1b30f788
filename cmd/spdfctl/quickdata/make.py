"""Cuts the data that quickstart embeds. README.md beside this says from what.

    python3 make.py BOOKS E2E

BOOKS holds the books as text, one gzip each, with index.json; E2E holds
trainset.csv.gz, devset.csv.gz and testset_w_refs.csv.gz. Prints the table of
README.md. The uncompressed bytes depend on nothing but the sources; the
compressed ones also on the version of zlib.
"""

import csv
import gzip
import hashlib
import io
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent

# (folder, source, longest slice in bytes or 0 for the whole book). The books
# of valid/ are by authors of whom nothing is in train/.
BOOKS = [
    ("train", "arthur-conan-doyle_the-adventures-of-sherlock-holmes", 0),
    ("train", "bram-stoker_dracula", 450_000),
    ("train", "f-scott-fitzgerald_the-great-gatsby", 0),
    ("train", "h-g-wells_the-war-of-the-worlds", 0),
    ("train", "jack-london_the-call-of-the-wild", 0),
    ("train", "jane-austen_pride-and-prejudice", 0),
    ("valid", "mary-shelley_frankenstein", 75_000),
    ("valid", "robert-louis-stevenson_treasure-island", 75_000),
]

# (slice, source, stop at the first whole MR that reaches this many, counted in).
E2E = [
    ("train", "trainset.csv.gz", 3000, "rows"),
    ("dev", "devset.csv.gz", 200, "rows"),
    ("test", "testset_w_refs.csv.gz", 60, "MRs"),
]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write(path, data):
    """Writes data as gzip without a name and without a time, and prints its line."""
    path.parent.mkdir(exist_ok=True)
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as f:
        f.write(data)
    path.write_bytes(out.getvalue())
    print(f"| `{path.relative_to(HERE)}` | {len(data)} | {len(out.getvalue())} | `{sha256(data)}` |")


def cut_book(data, limit):
    """Returns the longest run of whole paragraphs from the start within limit bytes."""
    if limit and len(data) > limit:
        data = data[: data.rindex(b"\n\n", 0, limit)] + b"\n"
    return data


def cut_e2e(raw, limit, unit):
    """Returns the rows of the first MRs in the order of the SHA-256 of their text.

    That order is a sample that looks at nothing in the MR. The rows keep the
    order and the text of the source. An MR with a line break in one of its
    references is left out, so that one row is one line.
    """
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8"), newline="")))[1:]
    refs = {}
    for mr, ref in rows:
        refs.setdefault(mr, []).append(ref)
    kept, count = set(), 0
    for mr in sorted(refs, key=lambda m: sha256(m.encode())):
        if count >= limit:
            break
        if any("\n" in ref or "\r" in ref for ref in refs[mr]):
            continue
        kept.add(mr)
        count += len(refs[mr]) if unit == "rows" else 1
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["mr", "ref"])
    writer.writerows(row for row in rows if row[0] in kept)
    return out.getvalue().encode()


def main(books, e2e):
    index = {b["file"]: b for b in json.loads((books / "index.json").read_text())}
    for folder, name, limit in BOOKS:
        data = gzip.decompress((books / f"{name}.txt.gz").read_bytes())
        if sha256(data) != index[name + ".txt"]["sha256"]:
            sys.exit(f"{name}: not the text that index.json describes")
        write(HERE / folder / f"{name}.txt.gz", cut_book(data, limit))
    for name, source, limit, unit in E2E:
        raw = gzip.decompress((e2e / source).read_bytes())
        write(HERE / "e2e" / f"{name}.csv.gz", cut_e2e(raw, limit, unit))


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
