// Package conversion turns objects of one API version into the same objects of another, where a kind has two.
//
// In: an object. Out: a new object of the other version, which shares nothing with the first. What the other version cannot say in fields it says
// in annotations, under the names that clients know, so that a client of one version loses nothing that a client of the other wrote.
//
// It never judges an object: a value that makes no sense comes out as senseless as it came in.
package conversion
