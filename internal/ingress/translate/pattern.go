package translate

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

// What somebody's regular expression may take: its text, and the program that it becomes, every step of which may be tried for every byte of a path.
const (
	maxPattern = 1024
	maxProgram = 2000
)

// compile compiles a regular expression within these bounds.
func compile(text string) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("it is longer than %d bytes", maxPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if n := steps(tree); n > maxProgram {
		return nil, fmt.Errorf("with its repetitions written out it has %d steps, and %d are the most", n, maxProgram)
	}
	return regexp.Compile(text)
}

// steps is about how many instructions an expression becomes: a repetition is its operand so many times. The parser bounds how repetitions multiply.
func steps(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpConcat, syntax.OpRepeat:
		n = 0 // nothing beside their operands
	}
	for _, sub := range re.Sub {
		n += steps(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}
