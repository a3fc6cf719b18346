// Command gogelf sends lines with go-gelf, the library Docker's gelf driver is made of.
//
//	gogelf 127.0.0.1:12201 none|gzip|zlib MESSAGE...
package main

import (
	"fmt"
	"os"

	"github.com/Graylog2/go-gelf/gelf"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gogelf:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	w, err := gelf.NewUDPWriter(args[0])
	if err != nil {
		return err
	}
	defer w.Close()
	switch args[1] {
	case "none":
		w.CompressionType = gelf.CompressNone
	case "gzip":
		w.CompressionType = gelf.CompressGzip
	case "zlib":
		w.CompressionType = gelf.CompressZlib
	default:
		return fmt.Errorf("compression %q", args[1])
	}
	w.Facility = "gogelf"
	for _, m := range args[2:] {
		if _, err := w.Write([]byte(m)); err != nil {
			return err
		}
	}
	return nil
}
