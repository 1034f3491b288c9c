from raypipe.jobs.train_miniature import JOB

if __name__ == "__main__":
    JOB.main()
