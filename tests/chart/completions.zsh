# What zsh offers for the command line of a program: `zsh -f capture.zsh MODULES FUNCTIONS SCRIPTS LINE`, with those two
# directories of zsh's own and the one that has the program's script. An offer is a line; what zsh says besides, too.
module_path=($1)
zmodload zsh/zpty
offers=$(mktemp)
setup="PS1= PS2=; module_path=($1); fpath=($3 $2/**/*(/)); autoload -U compinit; compinit -u -D; offers=$offers"'
compadd() {
    [[ " ${@[1,(i)(-|--)]} " == *" -"[OAD]" "* ]] && { builtin compadd "$@"; return }
    local -a found
    builtin compadd -A found "$@"
    print -l -- $found >>$offers
    builtin compadd "$@"
}
bindkey "^I" complete-word; print R""EADY'
zpty inner $ZSH -f -i
zpty -w inner $setup
zpty -r -m inner told '*READY*'
zpty -w -n inner "$4"$'\t\C-u'"print D''ONE"$'\n'
zpty -r -m inner told '*DONE*'
grep -a -e 'command not found' -e 'parse error' <<<$told
cat $offers
rm $offers
