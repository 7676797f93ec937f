# SPDX-License-Identifier: Apache-2.0
"""The reference, from the comments of the public headers and of the interface files.

    reference build ROOT IIG OUT VERSION PROGRAM…     write OUT/reference, OUT/man*, OUT/reference.d
    reference check ROOT IIG LIBRARY…                 refuse what is public and has no comment
"""

import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True  # nothing is left beside the sources

import check
import man
import markdown
import pages as source


def program_help(program):
    run = subprocess.run([program, '--help'], capture_output=True, text=True, check=True)
    return run.stdout


def save(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, text in sorted(files.items()):
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
            file.write(text)


def inputs(root):
    """Every file that is read, and the folders, in which new ones appear."""
    folders = [f'{root}/include/{folder}' for folder in source.HEADER_FOLDERS]
    folders += [f'{root}/interfaces/{family}' for family in source.FAMILIES]
    own = os.path.dirname(os.path.abspath(__file__))
    for folder in folders + [own]:
        yield folder
        for file in sorted(os.listdir(folder)):
            if not file.startswith('__pycache__'):
                yield os.path.join(folder, file)


def build(root, iig, out, version, *programs):
    pages = source.read_all(root, os.path.abspath(iig))
    helps = {os.path.basename(program): program_help(os.path.abspath(program)) for program in programs}
    save(f'{out}/reference', markdown.write(pages, check.GENERATED))
    manual = man.write(pages, helps, version)
    for folder in sorted({os.path.dirname(path) for path in manual}):
        save(f'{out}/{folder}', {os.path.basename(path): text for path, text in manual.items()
                                 if os.path.dirname(path) == folder})
    with open(f'{out}/reference.d', 'w', encoding='utf-8') as file:
        file.write('docs/reference: ' + ' '.join(inputs(root)) + '\n')
    return []


def checks(root, iig, *libraries):
    pages = source.read_all(root, os.path.abspath(iig))
    faults = [*check.undocumented(pages), *check.symbols(pages, libraries)]
    return faults + list(check.dead_links(markdown.write(pages, check.GENERATED)))


def main(arguments):
    commands = {'build': build, 'check': checks}
    if len(arguments) < 4 or arguments[0] not in commands:
        sys.exit(__doc__)
    try:
        faults = commands[arguments[0]](*arguments[1:])
    except source.Unread as error:
        faults = [f'not understood: {error}']
    for fault in faults:
        print(fault)
    return 1 if faults else 0


sys.exit(main(sys.argv[1:]))
