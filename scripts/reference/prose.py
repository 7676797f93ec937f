# SPDX-License-Identifier: Apache-2.0
"""The text of a comment as blocks: ('text', …), ('item', …) and ('code', …)."""

import re


def blocks(text):
    found = []
    for part in re.split(r'\n[ \t]*\n', text):
        for line in part.split('\n'):
            if not line.strip():
                continue
            if line.startswith('\t'):
                add(found, 'code', line[1:], '\n')
            elif re.match(r' *- ', line):
                found.append(['item', line.strip()[2:]])
            elif found and found[-1][0] != 'end':
                add(found, 'item' if found[-1][0] == 'item' else 'text', line.strip(), ' ')
            else:
                found.append(['text', line.strip()])
        found.append(['end', ''])
    return [tuple(block) for block in found if block[0] != 'end']


def add(found, kind, line, glue):
    if found and found[-1][0] == kind:
        found[-1][1] += glue + line
    else:
        found.append([kind, line])


def first_sentence(text):
    flat = ' '.join(text.split('\n\n')[0].split())
    return re.split(r'(?<=\.)\s(?=[A-Z])', flat, maxsplit=1)[0]
