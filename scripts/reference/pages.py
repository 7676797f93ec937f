# SPDX-License-Identifier: Apache-2.0
"""What the reference knows: a page for each public header and for each class.

A page is an overview and a list of items: headings, notes, and entries. An entry is one or more
declarations under one comment: those that follow each other without an empty line share it. The
headers are read here; what iig knows about an interface file comes from `iig doc`.
"""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field

FAMILIES = ['DriverKit', 'USBDriverKit', 'PCIDriverKit']
HEADER_FOLDERS = FAMILIES + ['IOKit', 'opendext']


@dataclass
class Entry:
    names: list  # what it declares: functions, types, macros, enumerators
    title: str
    code: list  # the declarations as C has them
    cxx: list = field(default_factory=list)  # as C++ has them, where that is another thing
    doc: str = ''
    functions: list = field(default_factory=list)  # of the names: what a library must export
    facts: list = field(default_factory=list)  # (label, text) of a method
    params: list = field(default_factory=list)  # (declaration, direction, text) of a method


@dataclass
class Heading:
    text: str


@dataclass
class Note:
    doc: str


@dataclass
class Page:
    name: str  # IOService, or IOKitLib.h
    include: str  # what a program includes
    doc: str = ''
    super: str = ''
    is_class: bool = False
    items: list = field(default_factory=list)

    def entries(self):
        return [item for item in self.items if isinstance(item, Entry)]

    def names(self):
        return [name for entry in self.entries() for name in entry.names]


class Unread(Exception):
    """A header says something that is not understood here."""


# ---- C, as far as this project's headers have it ----

TOKEN = re.compile(
    r'(?P<space>\s+)|(?P<comment>/\*.*?\*/|//[^\n]*)|(?P<directive>\#(?:\\\n|[^\n])*)'
    r'|(?P<bracket>extern\s+"C"\s*\{|\})|(?P<code>.)', re.S)
INSIDE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|.', re.S)


def code_end(text, start):
    """Where the declaration that begins at `start` ends: behind its semicolon or its body."""
    depth, head, position = 0, '', start
    is_body = False
    for token in INSIDE.finditer(text, start):
        part, position = token.group(), token.end()
        if part.startswith(('/*', '//')):
            continue
        if part in '({[':
            is_body = is_body or (part == '{' and depth == 0 and head.rstrip().endswith(')'))
            depth += 1
        elif part in ')}]':
            depth -= 1
            if part == '}' and depth == 0 and is_body:
                return position
        elif part == ';' and depth == 0:
            return position
        if depth == 0:
            head += part
    raise Unread(f'no end of: {text[start:start + 60]!r}')


def chunks(text):
    """(kind, text, empty lines before it, alone on its line) for each comment, macro, declaration."""
    position, gap, fresh = 0, 0, True
    while position < len(text):
        token = TOKEN.match(text, position)
        kind, part = token.lastgroup, token.group()
        end = token.end()
        if kind == 'space':
            gap, fresh = part.count('\n') - 1, '\n' in part
        else:
            if kind == 'code':
                end = code_end(text, position)
            if kind != 'bracket':
                yield kind, text[position:end], gap, fresh
            gap, fresh = 0, False
        position = end


def comment_text(comment):
    """The words of a comment, without its marks."""
    if comment.startswith('//'):
        return comment[2:].strip()
    body = re.sub(r'^/\*!?|\*/$', '', comment)
    lines = [re.sub(r'^[ \t]*\* ?', '', line) if i else line.strip()
             for i, line in enumerate(body.split('\n'))]
    return '\n'.join(line.rstrip() for line in lines).strip('\n')


def bare(code):
    """Code without comments."""
    return re.sub(r'/\*.*?\*/|//[^\n]*', '', code, flags=re.S)


IGNORED = re.compile(
    r'(?:class|struct|enum)\s+\w+\s*;|typedef\s+struct\s+(\w+)\s+\1\s*;|_Static_assert\b|static_assert\b')


def enumerators(code):
    body = code[code.index('{') + 1:code.rindex('}')]
    return re.findall(r'(?:^|,)\s*(\w+)', re.sub(r'\([^()]*\)', '', body))


def declared(code):
    """(names, functions) of one declaration. The first name is what it is called by."""
    code = re.sub(r'__attribute__\s*\(\(.*?\)\)', '', bare(code), flags=re.S).strip()
    if IGNORED.match(code):
        return [], []
    macro = re.match(r'#define\s+(\w+)', code)
    if macro:
        return [macro.group(1)], []
    enum = re.match(r'(?:typedef\s+)?enum\s*(\w*)\s*\{', code)
    if enum:
        tags = [enum.group(1)] if enum.group(1) else []
        return tags + enumerators(code), []
    record = re.match(r'(?:typedef\s+)?(?:struct|union|class)\s+(\w+)[^;(]*\{', code)
    if record and not code.startswith('static'):
        return [record.group(1)], []
    code = re.sub(r'^template\s*<[^{;]*?>\s*(?=inline|class|struct)', '', code)
    if re.match(r'class\s+\w+', code):
        return [re.match(r'class\s+(\w+)', code).group(1)], []
    if code.startswith('typedef'):
        name = re.search(r'\(\s*[*^]\s*(\w+)\s*\)|(\w+)\s*(?:\[[^]]*\]|\([^()]*\))?\s*;$', code)
        return [name.group(1) or name.group(2)], []
    function = re.match(r'[^({=]*?\b(\w+)\s*\(', code)
    if function:
        inline = re.match(r'(?:static\s+)?inline\b', code)
        return [function.group(1)], [] if inline else [function.group(1)]
    variable = re.match(r'extern\s[^({=]*?\b(\w+)\s*;', code)
    if variable:
        return [variable.group(1)], [variable.group(1)]
    raise Unread(f'what is declared here? {code[:80]!r}')


def shown(code):
    """A declaration as a reader wants it: of an inline function or a class of C++ only the head."""
    head = re.match(r'((?:template\s*<[^{;]*?>\s*)?(?:static\s+)?(?:inline\b|class\b)[^{;]*?)\s*\{', code)
    return head.group(1) + ';' if head else code


def title_of(names, code):
    """Of one name the name; of nameless constants what they have in common."""
    anonymous = re.match(r'(?:typedef\s+)?enum\s*\{', bare(code))
    if not anonymous or len(names) == 1:
        return names[0]
    prefix = os.path.commonprefix(names)
    return prefix + '…' if len(prefix) > 4 else names[0] + ', …'


def own_comment(code):
    """The comment behind the bracket of a list of constants: enum { // …"""
    inside = re.match(r'[^{;]*\{\s*//([^\n]*)\n', code)
    return inside.group(1).strip() if inside else ''


def read_header(path, name, include):
    """The page of a header; of an interface file, what stands in it beside the classes."""
    with open(path, encoding='utf-8') as file:
        text = file.read()
    page = Page(name, include)
    undefined = set(re.findall(r'#undef\s+(\w+)', text))
    comment, open_entry, seen_doc = None, None, False

    def float_comment():
        nonlocal comment, seen_doc
        if comment is None:
            return
        heading = re.fullmatch(r'--- (.*) ---', comment)
        if heading:
            page.items.append(Heading(heading.group(1)))
        elif not seen_doc:
            page.doc, seen_doc = comment, True
        else:
            page.items.append(Note(comment))
        comment = None

    for kind, part, gap, fresh in chunks(text):
        if gap > 0:
            open_entry = None
            float_comment()
        if kind == 'comment':
            if not fresh:
                if open_entry is not None:  # behind a declaration
                    open_entry.code[-1] += ' ' + part
                    open_entry.doc = open_entry.doc or comment_text(part)
                continue
            if 'SPDX-License-Identifier' in part:
                continue
            float_comment()
            comment, open_entry = comment_text(part), None
            continue
        if kind == 'directive' and not part.startswith('#define'):
            continue
        names, functions = declared(part) if not is_class(path, part) else ([], [])
        if not names or names[0] in undefined:
            comment = None
            continue
        if comment is None and names[0] in page.names():  # a template, said again for some types
            continue
        code = shown(part)
        if comment is None and open_entry is not None and not own_comment(part):
            open_entry.names += names
            open_entry.functions += functions
            open_entry.code.append(code)
            open_entry.title += ', ' + title_of(names, part)
            continue
        open_entry = Entry(names, title_of(names, part), [code], functions=functions,
                           doc=comment or own_comment(part))
        page.items.append(open_entry)
        comment = None
    return page


def is_class(path, code):
    return path.endswith('.iig') and re.match(r'class\b', code)


# ---- interface files ----

def load_interface(iig, root, family, file):
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, 'model.json')
        arguments = [iig, 'doc', f'interfaces/{family}/{file}', '-o', output,
                     '-I', 'interfaces', '-I', 'include']
        run = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Unread(run.stderr.strip())
        with open(output, encoding='utf-8') as model:
            return json.load(model)


def joined(head, arguments):
    """A declaration, broken before it is wider than a page."""
    line = f'{head}({", ".join(arguments) or "void"});'
    if len(line) <= 84:
        return line
    return f'{head}(' + ',\n\t'.join([''] + arguments)[1:] + ');'


def spaced(result):
    return result if result.endswith('*') else result + ' '


def signatures(cls, method):
    params = method['params']
    constant = 'const' in method['attributes']
    is_static = method['kind'].startswith('static')
    head = spaced(method['result'])
    own = [] if is_static else [('const ' if constant else '') + f'{cls} *self']
    c = joined(head + method['function'], own + [p['declaration'] for p in params])
    arguments = [p['declaration'] + (f' = {p["default"]}' if 'default' in p else '') for p in params]
    cxx = joined(('static ' if is_static else '') + head + f'{cls}::{method["name"]}', arguments)
    cxx = cxx.replace('(void)', '()')
    return c, cxx[:-1] + ' const;' if constant else cxx


# What runs where, by what iig knows of a method.
RUNS_ON = [
    (lambda m: m['kind'] == 'prototype',
     'the queue of the method that the action was made for; the caller never waits.'),
    (lambda m: m['kind'].startswith('static'),
     'the thread and the queue that call it, at once.'),
    (lambda m: 'queue' in m,
     'the queue `{queue}` of the object, as SetDispatchQueue() set it; else its default queue.'),
    (lambda m: 'LOCALONLY' in m['attributes'],
     'the thread and the queue that call it, at once.'),
    (lambda m: True,
     "the object's default queue: at once for a caller that is on it; any other waits for it. From "
     'another process it is a message.'),
]


def runs_on(method):
    return next(text for matches, text in RUNS_ON if matches(method)).format(**method)


ERROR = r'k(?:IO|USBHost)Return(?!Success)\w+'
ERRORS = re.compile(rf'\b({ERROR}(?:, {ERROR})*)(?:: ((?:[^.;`]|`[^`]*`)*))?')


def errors(doc):
    """What the comment says of each error that it names."""
    flat = ' '.join(doc.split())
    found = {}
    for match in ERRORS.finditer(flat):
        for name in match.group(1).split(', '):
            if name not in found or match.group(2):
                found[name] = (match.group(2) or '').strip()
    return found


def availability(item):
    parts = [f'{word} {item[key]}' for key, word in
             (('since', 'since version'), ('deprecated', 'deprecated in'), ('obsoleted', 'gone in'))
             if key in item]
    if 'message' in item:
        parts.append(item['message'])
    return ', '.join(parts) or 'every version'


def ownership(method, declaration, classes):
    """What happens to an object that is given, or comes back: by name, as in the whole of DriverKit."""
    match = re.match(r'(?:const )?(\w+) (\*+)', declaration)
    if not match or match.group(1) not in classes:
        return ''
    if match.group(2) == '*' and declaration != method['result']:
        return 'borrowed during the call, unless the text says that it is kept'
    if re.match(r'[gG]et', method['name']):
        return 'borrowed (+0)'
    return 'returned (+1): release it'


def describe(param, method, classes):
    texts = [ownership(method, param['declaration'], classes)]
    if 'room' in param:
        texts.append(f'at most {param["room"]}')
    if 'type' in param:
        texts.append(f'a completion made for {param["type"]}')
    if 'default' in param:
        texts.append(f'{param["default"]} when left out in C++')
    return '; '.join(text for text in texts if text)


# What becomes of a block, by how long iig says that it is kept.
BLOCK_KEPT = {
    'during': 'called before this returns only, and not copied',
    'once': 'copied, and released when it has run, or at once where this fails',
    'until-ended': 'copied, and released when it will not run any more',
}


def block_signatures(cls, method):
    """The form with a block, in C and in C++."""
    block = method['block']
    own = [] if method['kind'].startswith('static') else [f'{cls} *self']
    head = spaced(method['result'])
    c = joined(head + block['function'], own + block['params'])
    return c, joined(head + f'{cls}::{block["name"]}', block['params'])


def method_facts(cls, method, classes):
    facts = [('Runs on', runs_on(method))]
    returned = ownership(method, method['result'], classes)
    if returned:
        facts.append(('Gives', f'{method["result"]}: {returned}.'))
    name = method['name']
    if 'block' in method:
        facts.append(('With a block', 'where the compiler has blocks (clang -fblocks): in the place '
                      f'of context and function, {BLOCK_KEPT[method["block"]["kept"]]}.'))
    if method['kind'] == 'prototype':
        facts.append(('Made by', f'the `CreateAction…` that iig writes for a method declared '
                      f'`TYPE({cls}::{name})`.'))
    facts += [('Error', f'{error}: {text}.' if text else f'{error}.')
              for error, text in errors(method.get('doc', '')).items()]
    facts.append(('Available', availability(method) + '.'))
    if 'LOCALONLY' in method['attributes']:
        facts.append(('Id', 'none on the wire: LOCALONLY.'))
    elif 'id' in method:
        facts.append(('Id', f'`{method["id"]}`: `{method["canonical"]}`.'))
    return facts


def same_block(lines, first, last):
    """Is there no empty line between two lines of a file?"""
    return all(line.strip() for line in lines[first:last - 1])


def read_class(cls, include, lines, classes):
    page = Page(cls['name'], include, cls.get('doc', ''), cls.get('super', ''), True)
    previous = None
    for method in cls['methods']:
        c, cxx = signatures(cls['name'], method)
        is_exported = method['kind'] not in ('override', 'callback')
        shares = ('doc' not in method and previous is not None and is_exported and
                  same_block(lines, previous['line'], method['line']))
        doc = method.get('doc', '')
        if not doc and 'overrides' in method:
            doc = f'As {method["overrides"]}::{method["name"]}.'
        if shares:
            entry = page.items[-1]
            entry.title += ', ' + method['name']
        else:
            entry = Entry([], method['name'], [], doc=doc,
                          facts=method_facts(cls['name'], method, classes))
            page.items.append(entry)
        entry.names.append(method['function'])
        entry.functions += [method['function']] if is_exported else []
        entry.code.append(c)
        entry.cxx.append(cxx)
        if 'block' in method:
            c, cxx = block_signatures(cls['name'], method)
            entry.names.append(method['block']['function'])
            entry.code.append(c)
            entry.cxx.append(cxx)
        for param in method['params']:
            row = (param['declaration'], param['direction'], describe(param, method, classes))
            if row not in entry.params:
                entry.params.append(row)
        previous = method
    return page


# ---- all of it ----

def files_in(root, folder, *endings):
    path = os.path.join(root, folder)
    return sorted(name for name in os.listdir(path) if name.endswith(endings))


def read_all(root, iig):
    """Every page, headers first, in a fixed order."""
    headers, interfaces = [], []
    for folder in HEADER_FOLDERS:
        for file in files_in(root, f'include/{folder}', '.h', '.hpp'):
            headers.append(read_header(f'{root}/include/{folder}/{file}', file, f'{folder}/{file}'))
    headers.append(read_header(f'{root}/interfaces/DriverKit/iig.h', 'iig.h', 'DriverKit/iig.h'))
    for family in FAMILIES:
        for file in files_in(root, f'interfaces/{family}', '.iig'):
            interfaces.append((f'{root}/interfaces/{family}/{file}', f'{family}/{file[:-4]}.h',
                               load_interface(iig, root, family, file)))
    classes = {cls['name'] for _, _, model in interfaces for cls in model['classes']}
    pages = []
    for path, include, model in interfaces:
        beside = read_header(path, os.path.basename(include), include)
        if beside.items:
            names = [cls['name'] for cls in model['classes']]
            beside.doc = beside.doc or f'The types that {" and ".join(names)} needs.'
            headers.append(beside)
        with open(path, encoding='utf-8') as file:
            lines = file.read().split('\n')
        pages += [read_class(cls, include, lines, classes) for cls in model['classes']]
    names = [page.name for page in headers]
    for page in headers:
        if names.count(page.name) > 1:  # in two folders
            page.name = page.include.replace('/', '_')
    return headers + pages
