#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What is made from the tables of the program: manual pages that their readers accept, completions that the shells
# run, and tables in the documentation that are those of the program.
. "${0%/*}/lib.sh"

if [ ! -x "$WALBROOK_BUILD/tools/gendoc" ]; then
  skipped 1 "this build makes no documents"
  done_testing
  exit 0
fi
man=$WALBROOK_BUILD/man completions=$WALBROOK_BUILD/completions

cp "$SOURCE/docs/configuration.md" "$T/configuration.md"
"$WALBROOK_BUILD/tools/gendoc" tables "$T/configuration.md"
is "$?" 0 "the tables of the documentation are made anew"
diff "$SOURCE/docs/configuration.md" "$T/configuration.md" >"$T/diff"
ok $? "and are as they stand (make docs)" || note "$(cat "$T/diff")"
printf '# no table\n' >"$T/other.md"
"$WALBROOK_BUILD/tools/gendoc" tables "$T/other.md" 2>/dev/null
is "$?" 1 "a document without them is refused"

for page in walbrook.1 walbrook.yml.5; do
  if command -v mandoc >/dev/null; then
    is "$(mandoc -Tlint -W warning "$man/$page" 2>&1)" "" "$page: mandoc has nothing to say"
  else
    skipped 1 "no mandoc here"
  fi
  if command -v groff >/dev/null; then
    is "$(groff -man -ww -Kutf8 -z "$man/$page" 2>&1)" "" "$page: groff has nothing to say"
  else
    skipped 1 "no groff here"
  fi
done
for command in $("$WALBROOK" help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
  grep -q "^\.SS walbrook $command$" "$man/walbrook.1" && grep -q -- "$command" "$completions/walbrook.bash" &&
    grep -q -- "'$command:" "$completions/_walbrook" && grep -q -- " -a $command " "$completions/walbrook.fish"
  ok $? "$command is in the page and in all completions"
done

# shellcheck disable=SC2016  # for the other shell
bash_says() { # WORD…: what bash offers for the last one
  bash --norc -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _walbrook; printf "%s\n" "${COMPREPLY[@]}"' \
    "$completions/walbrook.bash" "$@" | sort | tr '\n' ' '
}
is "$(bash_says walbrook repl)" "replicate " "bash: a command"
is "$(bash_says walbrook restore -if)" "-if-db-not-exists -if-replica-exists " "bash: flags"
is "$(bash_says walbrook restore --time)" "--timestamp " "bash: two dashes"
is "$(bash_says walbrook restore -config "$T/conf")" "$T/configuration.md " "bash: a file for a flag"
is "$(bash_says walbrook restore "$T/conf")" "$T/configuration.md " "bash: a file for an argument"
is "$(bash_says walbrook restore -parallelism '' | tr -d ' ')" "" "bash: nothing for a number"
is "$(bash_says walbrook help versi)" "version " "bash: help of a command"

if command -v fish >/dev/null; then
  fish_says() { # LINE
    HOME=$T XDG_CONFIG_HOME=$T fish --no-config -c "source $completions/walbrook.fish; complete -C '$1'" | cut -f 1 | sort |
      tr '\n' ' '
  }
  is "$(fish_says 'walbrook repl')" "replicate " "fish: a command"
  is "$(fish_says 'walbrook restore -if')" "-if-db-not-exists -if-replica-exists " "fish: flags"
  is "$(fish_says "walbrook restore -config $T/conf")" "$T/configuration.md " "fish: a file for a flag"
else
  skipped 3 "no fish here"
fi

if command -v zsh >/dev/null; then
  # Types into a zsh on a terminal of its own; what it puts on the line behind a tab is what it offers.
  # shellcheck disable=SC2016
  zsh_says() { # BEGINNING: the line after completion
    HOME=$T ZDOTDIR=$T timeout 20 zsh -f -c '
      zmodload zsh/zpty
      zpty z zsh -f -i
      zpty -w z "PS1=; PROMPT_EOL_MARK=; unsetopt zle_bracketed_paste 2>/dev/null; fpath=($0 \$fpath); autoload -Uz compinit; compinit -u -D"
      zpty -w z "bindkey \"^I\" complete-word; print-it() { print -r -- \">>\$BUFFER<<\" >$2; exit }; zle -N print-it; bindkey \"^X\" print-it"
      zpty -n -w z "$1"$'"'\\t\\x18'"'
      while zpty -r z 2>/dev/null; do :; done >/dev/null' "$completions" "$1" "$T/zsh.out" >/dev/null 2>&1
    cat "$T/zsh.out" 2>/dev/null
    rm -f "$T/zsh.out"
  }
  like "$(zsh_says 'walbrook repl')" '^>>walbrook replicate ?<<$' "zsh: a command"
  like "$(zsh_says 'walbrook restore -times')" '^>>walbrook restore -timestamp ?<<$' "zsh: a flag"
  like "$(zsh_says "walbrook restore -config $T/configur")" '^>>walbrook restore -config .*/configuration\.md ?<<$' \
    "zsh: a file for a flag"
else
  skipped 3 "no zsh here"
fi
done_testing
