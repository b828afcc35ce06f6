// Package scheduletest writes nodes, Pods, volumes and budgets in one line each, for test data that is to be read as documentation.
//
// In: lines such as "web cpu=500m spread=zone:1". Out: the objects. It is imported by tests only, and adds to podtest what scheduling knows.
package scheduletest
