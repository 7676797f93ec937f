# SPDX-License-Identifier: Apache-2.0
"""What is missing or wrong in the reference, one line each: nothing public is without its comment,
nothing is exported that is not public, nothing is public that is not exported, no link is dead."""

import re
import subprocess

# What the libraries export and no public header declares: form, pattern, what it is.
GENERATED = [
    ('gClassMetaClass', r'g(\w+)MetaClass',
     "the table of a class, written by iig and declared in the class's header; OSTypeID() names it"),
    ('Class_Method_Shape', r'(\w+?)_\w+_Shape',
     "what iig knows of a method, declared in the class's header, for the stubs of derived classes"),
    ('wire_put_…, wire_get_…', r'wire_(?:put|get)_\w+',
     'what the sources that iig writes encode and decode parameters with'),
    ('main', r'main', 'of every driver: a bundle has no main() of its own'),
    ('dext_probe', r'dext_probe', "asks a virtual device what it is: dext-probe's, for dextd"),
]


def undocumented(pages):
    for page in pages:
        if not page.doc.strip():
            yield f'{page.include}: {page.name} does not begin with a comment that says what it is'
        for entry in page.entries():
            if not entry.doc.strip():
                yield f'{page.include}: {entry.title}: no comment above it'


def exported(library):
    run = subprocess.run(['nm', '-D', '--defined-only', '--format=posix', library],
                         capture_output=True, text=True, check=True)
    return {line.split()[0].split('@')[0] for line in run.stdout.splitlines()}


def symbols(pages, libraries):
    declared = {name: page for page in pages for entry in page.entries() for name in entry.functions}
    classes = {page.name for page in pages if page.is_class}
    found = {library: exported(library) for library in libraries}
    for library, names in found.items():
        for name in sorted(names - set(declared)):
            if not is_generated(name, classes):
                yield f'{library} exports {name}, which no public header or interface declares'
    everything = set().union(*found.values())
    for name in sorted(set(declared) - everything):
        yield f'{declared[name].include} declares {name}, which no library exports'


def is_generated(name, classes):
    for _, pattern, _ in GENERATED:
        match = re.fullmatch(pattern, name)
        if match and (not match.groups() or match.group(1) in classes):
            return True
    return False


def dead_links(files):
    anchors = {name: set(re.findall(r'<a id="([^"]+)">', text)) for name, text in files.items()}
    for name, text in files.items():
        for target in re.findall(r'\]\(([^)]+)\)', re.sub(r'```.*?```|`[^`]*`', '', text, flags=re.S)):
            file, _, anchor = target.partition('#')
            if file not in files or (anchor and anchor not in anchors[file]):
                yield f'{name}: a link to {target}, which is not there'
