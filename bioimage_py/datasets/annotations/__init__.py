"""What is said of resources: records, masks, labels and their codes, and several people's opinions as one."""
