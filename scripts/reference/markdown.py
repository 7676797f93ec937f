# SPDX-License-Identifier: Apache-2.0
"""The reference as Markdown: a page for each header and each class, and an index."""

import re

from pages import Entry, Heading
from prose import blocks, first_sentence

# Names that are words of prose too are not made into links.
NAME = re.compile(r'`[^`]*`|<[\w/]+\.h>|\b[A-Za-z]\w+(?:::\w+)?')
TELLING = re.compile(r'[a-z0-9][A-Z]|_|::|^(?:IO|OS)[A-Z]\w*[a-z]')


class Links:
    """Where a name is explained."""

    def __init__(self, pages):
        self.targets = {}
        for page in pages:
            self.targets.setdefault(page.name, f'{page.name}.md')
            for name in page.names():
                self.targets.setdefault(name, f'{page.name}.md#{name}')
                if page.is_class:
                    method = name[len(page.name) + 1:]
                    self.targets.setdefault(f'{page.name}::{method}', f'{page.name}.md#{name}')
        for page in pages:
            for name in constants(page):
                self.targets.setdefault(name, f'{page.name}.md#{name}')

    def to(self, name, page):
        if not TELLING.search(name):
            return None
        own = f'{page.name}_{name}'
        return self.targets.get(own) or self.targets.get(name)

    def text(self, text, page):
        """Prose, with links, and with what Markdown would take for marks escaped."""
        result, position = [], 0
        for match in NAME.finditer(text):
            result.append(escape(text[position:match.start()]))
            word = match.group()
            target = self.to(word.strip('`'), page)
            quoted = word if word.startswith('`') else escape(word)
            result.append(f'[{quoted}]({target})' if target else quoted)
            position = match.end()
        return ''.join(result) + escape(text[position:])


def constants(page):
    """The results of IOReturn.h, which one macro lists."""
    return [f'kIOReturn{name}' for entry in page.entries() if 'IO_RETURN_LIST' in entry.names
            for name in re.findall(r'\bX\((\w+),', ''.join(entry.code))]


def escape(text):
    return re.sub(r'([*<>\[\]|_\\])', r'\\\1', text)


def prose(text, page, links):
    out = []
    for kind, words in blocks(text):
        if kind == 'code':
            out.append(f'```c\n{words}\n```')
        elif kind == 'item':
            out.append('- ' + links.text(words, page))
        else:
            out.append(links.text(words, page))
    text = ''
    for block in out:
        text += ('\n' if block.startswith('- ') and text.rsplit('\n\n', 1)[-1].startswith('- ') else
                 '\n\n') + block
    return text.strip('\n')


def entry_text(entry, page, links):
    anchors = ''.join(f'<a id="{name}"></a>' for name in entry.names)
    if 'IO_RETURN_LIST' in entry.names:
        anchors += ''.join(f'<a id="{name}"></a>' for name in constants(page))
    out = [anchors, f'### {escape(entry.title)}', '```c\n' + '\n'.join(entry.code) + '\n```']
    if entry.cxx:
        out.append('```cpp\n' + '\n'.join(entry.cxx) + '\n```')
    out.append(prose(entry.doc, page, links))
    if entry.params:
        rows = [f'| `{declaration}` | {direction} | {links.text(text, page)} |'
                for declaration, direction, text in entry.params]
        out.append('\n'.join(['| parameter | direction | |', '| --- | --- | --- |'] + rows))
    if entry.facts:
        out.append('\n'.join(f'- **{label}:** {links.text(text, page)}' for label, text in entry.facts))
    return '\n\n'.join(out)


def page_text(page, pages, links):
    out = [f'# {escape(page.name)}', f'    #include <{page.include}>']
    if page.super:
        out.append(f'A class; derived from {links.text(page.super, page)}. [All pages](index.md).')
    elif page.is_class:
        out.append('A class, the root of all. [All pages](index.md).')
    else:
        out.append('A header. [All pages](index.md).')
    out.append(prose(page.doc, page, links))
    for item in page.items:
        if isinstance(item, Entry):
            out.append(entry_text(item, page, links))
        elif isinstance(item, Heading):
            out.append(f'## {item.text[0].upper()}{escape(item.text[1:])}')
        else:
            out.append(prose(item.doc, page, links))
    out += inherited(page, pages)
    return '\n\n'.join(part for part in out if part) + '\n'


def inherited(page, pages):
    """What an object of the class answers to as well."""
    by_name = {p.name: p for p in pages if p.is_class}
    lines, above = [], by_name.get(page.super)
    own = {name[len(page.name) + 1:] for name in page.names()}
    while above is not None:
        methods = [(n[len(above.name) + 1:], n) for n in above.names()]
        listed = ', '.join(f'[{escape(short)}]({above.name}.md#{name})'
                           for short, name in methods if short not in own)
        lines.append(f'- [{above.name}]({above.name}.md): {listed}')
        own |= {short for short, _ in methods}
        above = by_name.get(above.super)
    return ['## Inherited', '\n'.join(lines)] if lines else []


def index_text(pages, links, generated):
    out = ['# Reference', 'Written from the comments of the public headers and of the interface files.']
    for title, is_class in (('Classes', True), ('Headers', False)):
        rows = [f'| [{escape(p.name)}]({p.name}.md) | {links.text(first_sentence(p.doc), p)} |'
                for p in sorted(pages, key=lambda p: p.name) if p.is_class == is_class]
        out += [f'## {title}', '\n'.join(['| | |', '| --- | --- |'] + rows)]
    rows = [f'| `{form}` | {escape(text)} |' for form, _, text in generated]
    out += ['## Symbols that are not for drivers',
            'The libraries export them for what iig writes and for the programs of this project.',
            '\n'.join(['| | |', '| --- | --- |'] + rows)]
    names = sorted({(name, f'{p.name}.md#{name}') for p in pages for name in p.names() + constants(p)})
    out += ['## Names', '\n'.join(f'- [{escape(name)}]({target})' for name, target in names)]
    return '\n\n'.join(out) + '\n'


def write(pages, generated):
    """File names and their text."""
    links = Links(pages)
    files = {f'{page.name}.md': page_text(page, pages, links) for page in pages}
    files['index.md'] = index_text(pages, links, generated)
    return files
