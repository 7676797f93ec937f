# SPDX-License-Identifier: Apache-2.0
"""The reference as manual pages: section 3 for each header and class, where each function leads to
its page; 1 and 8 for the programs, from what their --help says."""

import re

from pages import Entry, Heading
from prose import blocks, first_sentence

# program: section, what it is, what to know about it, what else to read
PROGRAMS = {
    'dextctl': (1, 'look at what dextd knows, and end or restart drivers', [
        'dextctl asks dextd, over its socket, for the registry, for the reasons why a device has no '
        'driver, and for what confines the drivers. It can end the process of a driver, or stop a '
        'driver and start it again.',
        'With --json the answer is for programs. Exit status: 0 done; 1 refused, with the reason on '
        'standard error; 2 wrong usage.'], 'dextd(8)'),
    'iig': (1, 'compile an interface file to C and C++', [
        'iig reads an interface file in the language of DriverKit (iig.h(3) says what each attribute '
        'means) and writes the C header and source of its classes: ids, stubs, encode and decode '
        'with bounds, class tables. With --cxx-header it writes what C++ needs as well, and with '
        '--cxx-impl the classes are implemented in C++. With --remote the source is for a driver '
        "that calls these classes in another driver's process.",
        'freeze writes a snapshot of an interface, and check refuses an incompatible edit of what '
        'was frozen. doc writes the whole model, comments included, as JSON.',
        'Nothing is written unless everything was right. Exit status: 0 done; 1 an error in the '
        'interface, with file, line and what to do; 2 wrong usage.'], 'iig.h(3)'),
    'dextd': (8, 'match devices to drivers, start and confine them, broker connections', [
        'dextd finds devices, matches them to the personalities of driver bundles, opens their '
        'device nodes, and starts for each match a driver process that has only that device’s '
        'descriptors. It confines the drivers, starts again what died, and connects applications '
        'to them. It never touches device data.',
        'A bundle is a folder NAME.dext with an Info.plist and the program.'], 'dextctl(1)'),
}


def quoted(text):
    text = text.replace('\\', '\\e').replace('-', '\\-')
    text = re.sub(r"[\u2018\u2019]", "'", text).replace('…', '...')
    return '\n'.join('\\&' + line if line.startswith(('.', "'")) else line for line in text.split('\n'))


def words(text):
    # Where a name that is longer than a line may be broken.
    return quoted(text.replace('`', '')).replace('::', '::\\:')


def code(text):
    return '.nf\n' + quoted(text.expandtabs(8)) + '\n.fi'


def prose(text):
    out = []
    for kind, part in blocks(text):
        if kind == 'code':
            out.append('.PP\n.RS 4\n' + code(part) + '\n.RE')
        else:
            out.append(('.IP \\(bu 2\n' if kind == 'item' else '.PP\n') + words(part))
    return '\n'.join(out)


def top(name, section, version):
    return (f'.\\" Generated from the sources of OpenDext.\n'
            f'.TH {quoted(name).upper() if section != 3 else quoted(name)} {section} "" '
            f'"OpenDext {version}" "OpenDext manual"\n.ad l')


def name_line(name, what):
    return f'.SH NAME\n{quoted(name)} \\- {words(what)}'


def entry_text(entry):
    out = [f'.SS {words(entry.title)}', code('\n'.join(entry.code))]
    if entry.cxx:
        out += ['.PP', code('\n'.join(entry.cxx))]
    out.append(prose(entry.doc))
    for declaration, direction, text in entry.params:
        if text:
            out.append(f'.TP\n.B {words(declaration)}\n{words(direction + ": " + text)}')
    for label, text in entry.facts:
        out.append(f'.TP\n.B {words(label)}\n{words(text)}')
    return '\n'.join(part for part in out if part)


def page_text(page, version):
    what = first_sentence(page.doc).rstrip('.') or page.name
    out = [top(page.name, 3, version), name_line(page.name, what), '.SH SYNOPSIS',
           code(f'#include <{page.include}>'), '.SH DESCRIPTION', prose(page.doc)]
    if page.super:
        out.append(f'.PP\nDerived from {page.super}(3).')
    for item in page.items:
        if isinstance(item, Entry):
            out.append(entry_text(item))
        elif isinstance(item, Heading):
            out.append(f'.SH {words(item.text).upper()}')
        else:
            out.append(prose(item.doc))
    return '\n'.join(part for part in out if part) + '\n'


def program_text(name, help_text, version):
    section, what, paragraphs, see_also = PROGRAMS[name]
    out = [top(name, section, version), name_line(name, what), '.SH DESCRIPTION']
    out += ['.PP\n' + words(paragraph) for paragraph in paragraphs]
    out += ['.SH USAGE', code(help_text.strip('\n')), '.SH SEE ALSO', words(see_also)]
    return '\n'.join(out) + '\n'


def write(pages, helps, version):
    """Paths below the manual's folder and their text."""
    files = {}
    for page in pages:
        files[f'man3/{page.name}.3'] = page_text(page, version)
    for page in pages:
        for name in page.names():
            files.setdefault(f'man3/{name}.3', f'.so man3/{page.name}.3\n')
    for name, help_text in helps.items():
        section = PROGRAMS[name][0]
        files[f'man{section}/{name}.{section}'] = program_text(name, help_text, version)
    return files
