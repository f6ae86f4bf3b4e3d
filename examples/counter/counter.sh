#!/bin/sh
# One number for the whole room. Say "+" or "-" and everybody hears the new value; anything else
# asks for it. The number lives as long as the room: when the last client leaves, stdin ends,
# and so does the loop.
n=0
while read -r word; do
    case $word in
    +) n=$((n + 1)) ;;
    -) n=$((n - 1)) ;;
    esac
    echo "$n" # the shell writes at once, pipe or not
done
