// Package query is lookout's query language: the words of a search, compiled once by [Parse] and used over history, the
// live stream, alert rules and probes alike.
package query
