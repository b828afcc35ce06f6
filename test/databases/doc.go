// Package databases shows that databases keep what they acknowledged: PostgreSQL and Redis from Debian's packages, as StatefulSets from Git with claims of the built-in class, in
// a cluster of network namespaces that is hurt in every way that storage has to survive.
//
// In: the programs, a folder for what is made of packages, how many rounds. Out: what every fault took and, unless all is well, an error that says which acknowledged writes are
// not there.
//
// Writers are outside of the cluster. They write numbers one after the other, and note those that a database acknowledged: PostgreSQL with synchronous_commit=on, Redis with
// appendfsync always. After every fault both databases must take writes again and give all that were noted.
package databases
