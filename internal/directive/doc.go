// Package directive reads what an object's annotations ask of the way in which it is applied: in which wave, as which hook, whether it may be
// pruned, replaced or left alone.
//
// In: annotations, gitopsd's own and those by which users of Argo CD, Flux and Helm have always said the same, so that a repository that works there
// works here. Out: one Set that the rest of the code acts upon. Where several dialects speak of one thing, gitopsd's own word counts first, then Argo
// CD's, then Flux's, then Helm's.
//
// It is pure, and it never guesses: a value that means nothing is an error that names the annotation and what it may be.
package directive
