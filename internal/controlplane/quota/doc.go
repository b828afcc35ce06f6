// Package quota measures what objects take from a ResourceQuota.
//
// In: an object. Out: the quota resources that it uses, the scopes that it belongs to, and the resources that it must state to be counted. The measures are
// used twice: at admission, for the one object that comes in, and by the controller that counts anew what a namespace has.
//
// It refuses nothing itself, and reads nothing but the objects that it is given.
package quota
