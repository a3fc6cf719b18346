#compdef lookout
# Completion of lookout for zsh.
# Load it now: source <(lookout completion zsh)
# Load it always: lookout completion zsh > "${fpath[1]}/_lookout"

_lookout() {
	local line directive
	local -a lines words_ shown space
	local tab=$'\t'
	# What is quoted goes as it is meant; PREFIX is the word without the quote that is still open.
	lines=("${(@f)$(command "${words[1]}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
	directive=${lines[-1]#:}
	[[ $directive == <-> ]] || return 1
	lines[-1]=()
	for line in "${lines[@]}"; do
		[[ -n $line ]] || continue
		words_+=("${line%%$tab*}")
		if [[ $line == *$tab* ]]; then
			shown+=("${line%%$tab*}  -- ${line#*$tab}")
		else
			shown+=("$line")
		fi
	done
	(( directive & 2 )) && space=(-S '')
	# Of --flag=value the value alone is completed.
	if [[ $PREFIX == -*=* ]]; then
		IPREFIX+="${PREFIX%%=*}="
		PREFIX="${PREFIX#*=}"
	fi
	if (( $#words_ )); then
		if [[ "${lines[*]}" == *$tab* ]]; then
			compadd "${space[@]}" -l -d shown -a words_
		else
			compadd "${space[@]}" -a words_
		fi
	elif (( !(directive & 4) )); then
		_files
	fi
}

# As a file of fpath it is the function; sourced it is put in place.
if [[ $funcstack[1] == _lookout ]]; then
	_lookout "$@"
else
	compdef _lookout lookout
fi
