# Completion of lookout for fish.
# Load it now: lookout completion fish | source
# Load it always: lookout completion fish > ~/.config/fish/completions/lookout.fish

function __lookout_complete
    set -l words (commandline -opc)
    # The word as it is meant: without the quote that is still open.
    set -l raw (commandline -ct)
    set -l word (string unescape -- "$raw"; or string unescape -- "$raw'"; or string unescape -- "$raw\"")
    set -l lines (command $words[1] __complete $words[2..-1] "$word" 2>/dev/null)
    set -q lines[1]; or return
    set -l directive (string sub -s 2 -- $lines[-1])
    set -e lines[-1]
    # Of --flag=value fish completes the word as a whole.
    set -l flag (string match -r -- '^-[^=]*=' $word)
    for line in $lines
        test -n "$line"; and printf '%s%s\n' "$flag" $line
    end
    # Files, where nothing else was offered and they are not ruled out (4).
    if not set -q lines[1]; and test (math "floor($directive / 4) % 2") = 0
        __fish_complete_path (commandline -ct)
    end
end
complete -c lookout -e
complete -c lookout -f -a '(__lookout_complete)'
