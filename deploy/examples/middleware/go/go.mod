module example.com/umbrashadow

go 1.21
