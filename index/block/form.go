package block

import "github.com/lookoutlog/lookout/index/query"

// Form is what a judge said of one form of text in a block: see [Text] for the column and the local number. Local is -1 for
// texts that have no pattern.
type Form struct {
	Column, Local int
	Verdict       query.Verdict
}
