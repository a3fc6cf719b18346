# Completion of lookout for bash 3.2 and newer; the package bash-completion is not needed.
# Load it now: source <(lookout completion bash)
# Load it always: lookout completion bash > ~/.local/share/bash-completion/completions/lookout

# lookout itself takes the line apart, and says what replaces the word ($2 is readline's): bash breaks words at : and = too.
_lookout() {
	local reply columns=${COLUMNS:-80}
	COMPREPLY=()
	# One after the other, or all at once, they are put into the line: nothing but the words then.
	case $COMP_TYPE in 37 | 42) columns=0 ;; esac
	while IFS= read -r reply; do
		case $reply in
		=nospace) type -t compopt >/dev/null && compopt -o nospace ;;
		=files) type -t compopt >/dev/null && compopt -o default ;;
		=order) [[ ${BASH_VERSINFO[0]}${BASH_VERSINFO[1]} -lt 44 ]] || compopt -o nosort ;;
		+*) COMPREPLY+=("${reply#+}") ;;
		esac
	done < <(command "$1" __complete-bash "${COMP_LINE:0:COMP_POINT}" "$2" "$columns" 2>/dev/null)
}
complete -F _lookout lookout
