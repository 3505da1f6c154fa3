package main

import (
	"bufio"
	"io"
)

// writer is a buffered output that is still known to be a terminal or not.
type writer struct {
	*bufio.Writer
	to io.Writer
}
