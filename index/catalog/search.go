package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/search"
	bquery "github.com/blevesearch/bleve/v2/search/query"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Limits of a search.
const (
	maxText   = 1000 // bytes of a request's text
	maxWords  = 32   // in it
	maxFacets = 100  // services in an answer
	maxPlaces = 100_000
)

// Search finds kinds by their words; without words, those of the services and levels, in the order that is asked for. The error is a *[query.KindTextError], [query.ErrCatalogBuilding] while there is no index, ctx's, or what is wrong with index or ledger; a
// damaged index is then built anew by [Catalog.Run].
func (c *Catalog) Search(ctx context.Context, r query.KindSearch) (*query.KindAnswer, error) {
	text, err := parseText(r.Text)
	if err != nil {
		return nil, err
	}
	var all []bquery.Query
	var service func(string) bool
	if r.Service != "" {
		q, matches, err := serviceQuery(r.Service)
		if err != nil {
			return nil, err
		}
		all, service = append(all, q), matches
	}
	if len(r.Levels) > 0 {
		var any []bquery.Query
		for _, l := range r.Levels {
			any = append(any, term(fieldLevel, l.String()))
		}
		all = append(all, bleve.NewDisjunctionQuery(any...))
	}
	r.Limit = min(max(r.Limit, 0), query.MaxFoundKinds)
	if text == nil {
		return c.list(&r, service)
	}
	request := bleve.NewSearchRequestOptions(bleve.NewConjunctionQuery(append(all, text)...), r.Limit, 0, false)
	request.SortBy([]string{"-_score", "_id"})
	if r.Facets {
		request.AddFacet(fieldPlace, bleve.NewFacetRequest(fieldPlace, maxPlaces))
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	switch {
	case c.closed:
		return nil, ErrClosed
	case c.index == nil:
		return nil, query.ErrCatalogBuilding
	}
	found, err := c.searchIndex(ctx, request)
	if err != nil {
		return nil, err
	}
	answer := &query.KindAnswer{Total: int(found.Total)}
	numbers := make([]uint64, 0, len(found.Hits))
	for _, hit := range found.Hits {
		n, err := strconv.ParseUint(hit.ID, 10, 64)
		if err != nil {
			c.damaged.Store(true)
			return nil, fmt.Errorf("the index of patterns is damaged: it has a document %q", hit.ID)
		}
		numbers = append(numbers, n)
	}
	if answer.Kinds, err = c.ledger.numbers(numbers); err != nil {
		return nil, err
	}
	if r.Facets {
		addFacets(answer, found.Facets[fieldPlace])
	}
	sortFacets(answer)
	return answer, nil
}

// list answers a request without a text, from the ledger: what it has of a service and level is counted.
func (c *Catalog) list(r *query.KindSearch, service func(string) bool) (*query.KindAnswer, error) {
	wanted := func(l event.Level) bool { return len(r.Levels) == 0 || slices.Contains(r.Levels, l) }
	answer := &query.KindAnswer{}
	levels := map[event.Level]int{}
	services := map[string]int{}
	for name, byLevel := range c.ledger.counts() {
		if service != nil && !service(name) {
			continue
		}
		n := 0
		for l, kinds := range byLevel {
			if kinds > 0 && wanted(event.Level(l)) {
				n += kinds
				levels[event.Level(l)] += kinds
			}
		}
		if answer.Total += n; n > 0 {
			services[name] = n
		}
	}
	if r.Facets {
		addCounts(answer, services, levels)
	}
	if n := min(answer.Total, r.Limit); n > 0 {
		// In another order than the ledger's all are looked at, and no more than twice as many held.
		cut := func() {
			if r.Order != query.ByDiscovery {
				slices.SortStableFunc(answer.Kinds, byTime(r.Order))
			}
			answer.Kinds = answer.Kinds[:min(len(answer.Kinds), n)]
		}
		if err := c.ledger.each(func(k *query.Kind) bool {
			if services[k.Service] > 0 && wanted(k.Level) {
				if answer.Kinds = append(answer.Kinds, *k); len(answer.Kinds) == 2*n {
					cut()
				}
			}
			return r.Order != query.ByDiscovery || len(answer.Kinds) < n
		}); err != nil {
			return nil, err
		}
		cut()
	}
	sortFacets(answer)
	return answer, nil
}

// byTime compares kinds by when they were seen, the newest first.
func byTime(o query.KindOrder) func(a, b query.Kind) int {
	if o == query.ByFirst {
		return func(a, b query.Kind) int { return cmp.Compare(b.First, a.First) }
	}
	return func(a, b query.Kind) int { return cmp.Compare(b.Last, a.Last) }
}

// sortFacets puts facets in order.
func sortFacets(a *query.KindAnswer) {
	for _, list := range []*[]query.KindFacet{&a.Services, &a.Levels} {
		slices.SortFunc(*list, func(a, b query.KindFacet) int {
			if a.Kinds != b.Kinds {
				return b.Kinds - a.Kinds
			}
			return strings.Compare(a.Name, b.Name)
		})
	}
	a.Services = a.Services[:min(len(a.Services), maxFacets)]
}

// searchIndex asks bleve; what it does with damaged files is at best an error.
func (c *Catalog) searchIndex(ctx context.Context, r *bleve.SearchRequest) (found *bleve.SearchResult, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err != nil && ctx.Err() == nil {
			c.damaged.Store(true)
			err = fmt.Errorf("the index of patterns cannot be read, and is built anew: %w", err)
		}
	}()
	return c.index.SearchInContext(ctx, r)
}

// addFacets adds up places by service and by level.
func addFacets(a *query.KindAnswer, f *search.FacetResult) {
	if f == nil || f.Terms == nil {
		return
	}
	services, levels := map[string]int{}, map[event.Level]int{}
	for _, t := range f.Terms.Terms() {
		if len(t.Term) > 0 {
			services[t.Term[1:]] += t.Count
			levels[event.Level(t.Term[0]-'0')] += t.Count
		}
	}
	addCounts(a, services, levels)
}

func addCounts(a *query.KindAnswer, services map[string]int, levels map[event.Level]int) {
	for name, n := range services {
		a.Services = append(a.Services, query.KindFacet{Name: name, Kinds: n})
	}
	for l, n := range levels {
		a.Levels = append(a.Levels, query.KindFacet{Name: l.String(), Kinds: n})
	}
}

func term(field, value string) bquery.Query {
	q := bleve.NewTermQuery(value)
	q.SetField(field)
	return q
}

// serviceQuery compiles a service's name, for the index and for the ledger.
func serviceQuery(name string) (q bquery.Query, matches func(string) bool, err error) {
	if len(name) > maxText {
		return nil, nil, textError("the service's name is too long", fmt.Sprintf("write at most %d bytes", maxText))
	}
	matches, err = query.ServiceGlob(name)
	if err != nil || !strings.ContainsAny(name, "*?") {
		return term(fieldService, name), matches, err
	}
	w := bleve.NewWildcardQuery(name)
	w.SetField(fieldService)
	return w, matches, nil
}

func textError(message, mend string) error {
	return &query.KindTextError{Message: message, Mend: mend}
}

// parseText compiles a request's text; nil for none.
func parseText(text string) (bquery.Query, error) {
	if len(text) > maxText {
		return nil, textError("the text to search for is too long", fmt.Sprintf("write at most %d bytes", maxText))
	}
	if !utf8.ValidString(text) {
		return nil, textError("the text to search for is not UTF-8", "write words")
	}
	var must, not []bquery.Query
	words := 0
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		if words++; words > maxWords {
			return nil, textError(fmt.Sprintf("there are more than %d words to search for", maxWords), "search for fewer")
		}
		negative := strings.HasPrefix(rest, "-")
		rest = strings.TrimPrefix(rest, "-")
		var q bquery.Query
		var err error
		if strings.HasPrefix(rest, `"`) {
			phrase, behind, closed := strings.Cut(rest[1:], `"`)
			if !closed {
				return nil, textError("a quote is open in the text to search for", `close it, as in "card refund"`)
			}
			if q = phraseQuery(wordsOf(phrase)); q == nil {
				return nil, textError(fmt.Sprintf("there is no word in %q", phrase), "write letters or digits")
			}
			rest = behind
		} else {
			word := rest
			if i := strings.IndexAny(rest, " \t\r\n\""); i >= 0 {
				word = rest[:i]
			}
			rest = rest[len(word):]
			if q, err = wordQuery(word); err != nil {
				return nil, err
			}
		}
		if negative {
			not = append(not, q)
		} else {
			must = append(must, q)
		}
	}
	switch {
	case words == 0:
		return nil, nil
	case len(not) == 0:
		return bleve.NewConjunctionQuery(must...), nil
	case len(must) == 0:
		must = append(must, bleve.NewMatchAllQuery())
	}
	q := bleve.NewBooleanQuery()
	q.AddMust(must...)
	q.AddMustNot(not...)
	return q, nil
}

// wordQuery compiles one word, with what stands behind it.
func wordQuery(text string) (bquery.Query, error) {
	word, kind := text, byte(0)
	slips := 0
	switch {
	case strings.HasSuffix(text, "*"):
		word, kind = text[:len(text)-1], '*'
	case strings.HasSuffix(text, "~"):
		word, kind = text[:len(text)-1], '~'
	case strings.HasSuffix(text, "~1"), strings.HasSuffix(text, "~2"):
		word, kind, slips = text[:len(text)-2], '~', int(text[len(text)-1]-'0')
	}
	parts := wordsOf(word)
	if len(parts) == 0 || len(parts[0]) == 0 {
		return nil, textError(fmt.Sprintf("there is no word in %q", text), "write letters or digits")
	}
	if kind == 0 {
		q := phraseQuery(parts)
		if whole := strings.ToLower(word); len(parts) > 1 && whole == parts[0][0] { // a name, which may be written as one word
			q = bleve.NewDisjunctionQuery(q, term(fieldTemplate, whole))
		}
		return q, nil
	}
	// Of a name the whole is looked for; refund_fai* are two words, and only the last one has a beginning.
	last := len(parts) - 1
	whole := parts[0][0]
	if len(parts[0]) == 1 && last > 0 {
		whole = parts[last][0]
	} else {
		last = 0
	}
	var q bquery.Query
	if kind == '*' {
		prefix := bleve.NewPrefixQuery(whole)
		prefix.SetField(fieldTemplate)
		q = prefix
	} else {
		if slips == 0 {
			slips = 1
			if utf8.RuneCountInString(whole) > 7 {
				slips = 2
			}
		}
		fuzzy := bleve.NewFuzzyQuery(whole)
		fuzzy.SetField(fieldTemplate)
		fuzzy.SetFuzziness(slips)
		q = fuzzy
	}
	all := []bquery.Query{q}
	for _, p := range parts[:last] {
		if len(p) > 0 {
			all = append(all, term(fieldTemplate, p[0]))
		}
	}
	return bleve.NewConjunctionQuery(all...), nil
}

// phraseQuery looks for words one behind the other; nil for none.
func phraseQuery(words [][]string) bquery.Query {
	for len(words) > 0 && len(words[0]) == 0 {
		words = words[1:]
	}
	switch {
	case len(words) == 0:
		return nil
	case len(words) == 1:
		return term(fieldTemplate, words[0][0])
	}
	// Of a name the parts: it is there as parts, however it is written.
	terms := make([][]string, len(words))
	for i, alternatives := range words {
		terms[i] = alternatives[max(len(alternatives)-1, 0):]
	}
	return bquery.NewMultiPhraseQuery(terms, fieldTemplate)
}

// Lookup returns when the kinds of some hashes were seen; those that the ledger does not have are left out.
func (c *Catalog) Lookup(hashes []uint64) (map[uint64]query.KindTimes, error) {
	found, err := c.ledger.seen(hashes)
	if err != nil {
		return nil, err
	}
	out := make(map[uint64]query.KindTimes, len(found))
	for h, t := range found {
		out[h] = query.KindTimes(t)
	}
	return out, nil
}

// Each calls fn for every kind in the ledger, with when it was first and last seen, in order of discovery, until it returns
// false.
func (c *Catalog) Each(fn func(k *query.Kind) bool) error { return c.ledger.each(fn) }
